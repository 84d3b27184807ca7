/* The upstream of the comparison: one thread, epoll, HTTP/1.1 with lengths. It answers 401 to whoever does not carry
 * the session, so that no proxy can pass without doing its work.
 *
 *   upstream PORT TOKEN
 *
 * POST /session gives the session TOKEN, DELETE /session takes it back, GET /large answers 10 MiB, all else 1 KiB. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SMALL_BYTES = 1024,
    LARGE_BYTES = 10 * 1024 * 1024,
    HEAD_BYTES_MAX = 16 * 1024,
    EVENTS_MAX = 256,
    /* As much of a request's body is thrown away by one call. */
    DISCARD_BYTES_MAX = 256 * 1024,
};

/* A whole answer as it goes over the wire. */
struct answer {
    char *bytes;
    size_t length;
};

struct connection {
    int fd;
    /* Of the head, as far as it is there. */
    size_t filled;
    /* Of the request's body, still to come. */
    size_t body_left;
    const struct answer *answer;
    size_t written;
    bool waits_for_room;
    char head[HEAD_BYTES_MAX];
};

static struct answer small, large, session, no_content, unauthorized, bad_request;
static const char *token;
static size_t token_length;
static int poll_fd;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct answer make(const char *head, size_t body_length, const char *body) {
    char now[64];
    time_t seconds = time(NULL);
    strftime(now, sizeof now, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&seconds));
    struct answer answer = {malloc(1024 + body_length), 0};
    if (!answer.bytes) fail("malloc");
    int length = snprintf(answer.bytes, 1024, "HTTP/1.1 %s\r\nDate: %s\r\nContent-Length: %zu\r\n\r\n", head, now,
                          body_length);
    if (body) memcpy(answer.bytes + length, body, body_length);
    else memset(answer.bytes + length, 'd', body_length);
    answer.length = (size_t)length + body_length;
    return answer;
}

static void make_answers(void) {
    /* The seven fields that an API's answer commonly has, with `Date` and `Content-Length`. */
    static const char ok[] = "200 OK\r\nContent-Type: application/json\r\nServer: bench\r\n"
                             "Cache-Control: private, no-cache\r\nETag: \"5d8c72a5edda8d6a\"\r\nVary: accept-encoding";
    char text[512];
    small = make(ok, SMALL_BYTES, NULL);
    large = make(ok, LARGE_BYTES, NULL);
    snprintf(text, sizeof text, "{\"token\":\"%s\"}", token);
    session = make("200 OK\r\nContent-Type: application/json", strlen(text), text);
    no_content = make("204 No Content", 0, NULL);
    /* A 204 has no length (RFC 9110, section 8.6). */
    char *field = strstr(no_content.bytes, "Content-Length");
    memcpy(field, "\r\n", 3);
    no_content.length = (size_t)(field - no_content.bytes) + 2;
    unauthorized = make("401 Unauthorized\r\nContent-Type: text/plain", 10, "no session");
    bad_request = make("411 Length Required\r\nContent-Type: text/plain", 9, "no length");
}

/* Reads the fields of a head: whether it carries the session, and how long the body is. */
static void read_fields(const char *at, const char *end, bool *carries, long long *body_length) {
    while (at < end) {
        const char *line_end = memchr(at, '\r', (size_t)(end - at));
        if (!line_end) break;
        if ((*at | 32) == 'a' && line_end - at > 11 && !strncasecmp(at, "authtoken:", 10)) {
            const char *value = at + 10;
            while (value < line_end && *value == ' ') value++;
            *carries = (size_t)(line_end - value) == token_length && !memcmp(value, token, token_length);
        } else if ((*at | 32) == 'c' && line_end - at > 15 && !strncasecmp(at, "content-length:", 15)) {
            *body_length = strtoll(at + 15, NULL, 10);
        } else if ((*at | 32) == 't' && line_end - at > 18 && !strncasecmp(at, "transfer-encoding:", 18)) {
            *body_length = -1;
        }
        at = line_end + 2;
    }
}

/* Chooses the answer to a head of `length` bytes, the empty line included. */
static void judge(struct connection *connection, size_t length) {
    const char *head = connection->head;
    const char *fields = memchr(head, '\n', length);
    bool carries = false;
    long long body_length = 0;
    read_fields(fields + 1, head + length - 2, &carries, &body_length);
    size_t behind = connection->filled - length;
    connection->filled = 0;
    connection->body_left = body_length > (long long)behind ? (size_t)body_length - behind : 0;
    connection->written = 0;
    if (body_length < 0) connection->answer = &bad_request;
    else if (!strncmp(head, "POST /session ", 14)) connection->answer = &session;
    else if (!carries) connection->answer = &unauthorized;
    else if (!strncmp(head, "DELETE /session ", 16)) connection->answer = &no_content;
    else if (!strncmp(head, "GET /large ", 11)) connection->answer = &large;
    else connection->answer = &small;
}

static void watch(struct connection *connection, bool for_room) {
    if (connection->waits_for_room == for_room) return;
    connection->waits_for_room = for_room;
    struct epoll_event event = {.events = for_room ? EPOLLOUT : EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(poll_fd, EPOLL_CTL_MOD, connection->fd, &event)) fail("epoll_ctl");
}

/* Reads what there is; false when the connection has ended. */
static bool receive(struct connection *connection) {
    if (connection->body_left > 0) {
        size_t wanted = connection->body_left < DISCARD_BYTES_MAX ? connection->body_left : DISCARD_BYTES_MAX;
        /* The length is all that counts: the bytes need not be copied (tcp(7), MSG_TRUNC). */
        ssize_t count = recv(connection->fd, NULL, wanted, MSG_TRUNC);
        if (count <= 0) return count < 0 && errno == EAGAIN;
        connection->body_left -= (size_t)count;
        return true;
    }
    char *at = connection->head + connection->filled;
    ssize_t count = recv(connection->fd, at, HEAD_BYTES_MAX - connection->filled, 0);
    if (count <= 0) return count < 0 && errno == EAGAIN;
    connection->filled += (size_t)count;
    const char *end = memmem(connection->head, connection->filled, "\r\n\r\n", 4);
    if (!end) return connection->filled < HEAD_BYTES_MAX;
    judge(connection, (size_t)(end - connection->head) + 4);
    return true;
}

/* Writes what there is room for; false when the connection has ended. */
static bool answer(struct connection *connection) {
    const struct answer *whole = connection->answer;
    while (connection->written < whole->length) {
        size_t left = whole->length - connection->written;
        ssize_t count = send(connection->fd, whole->bytes + connection->written, left, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            watch(connection, true);
            return true;
        }
        if (count < 0) return false;
        connection->written += (size_t)count;
    }
    connection->answer = NULL;
    watch(connection, false);
    return true;
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection) fail("calloc");
        connection->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
    }
}

static void serve(struct connection *connection) {
    bool alive = (connection->answer && connection->body_left == 0) || receive(connection);
    if (alive && connection->answer && connection->body_left == 0) alive = answer(connection);
    if (!alive) {
        close(connection->fd);
        free(connection);
    }
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (listen(listener, 4096)) fail("listen");
    return listener;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: upstream PORT TOKEN\n");
        return 2;
    }
    token = arguments[2];
    token_length = strlen(token);
    make_answers();
    signal(SIGPIPE, SIG_IGN);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on(atoi(arguments[1]));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event)) fail("epoll_ctl");
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int ready = epoll_wait(poll_fd, events, EVENTS_MAX, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int at = 0; at < ready; at++) {
            if (events[at].data.ptr) serve(events[at].data.ptr);
            else accept_all(listener);
        }
    }
}
