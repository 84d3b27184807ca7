/* The clients of the comparison: one thread, epoll, HTTP/1.1, with or without TLS. Every answer must be a 200 with a
 * body of the expected length; anything else is an error, and is counted. The result is one line of JSON.
 *
 *   load --port N --path P (--answer-bytes N | --any) --connections N (--seconds S | --requests N | --hold)
 *        [--header 'Name: value']... [--tls] [--fresh] [--rate N] [--post-bytes N]
 *
 * --any     every answer that says its length is good, whatever its status: to train a build, not to measure one
 * --fresh   a new connection for every request, without resumption of TLS sessions
 * --rate    requests a second, evenly spread; a latency counts from when its request was due, so that a slow proxy
 *           cannot slow its own clients down
 * --hold    one request on each connection, then all are kept open until standard input ends */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_BYTES_MAX = 8 * 1024,
    BUFFER_BYTES = 256 * 1024,
    EVENTS_MAX = 256,
    /* Connections that --hold opens at the same time. */
    HOLD_TOGETHER = 32,
    /* After so many errors there is nothing to measure. */
    ERRORS_MAX = 100,
    /* How long the answers under way may take at the end. */
    DRAIN_SECONDS = 10,
    /* After so long without any event, what is under way counts as lost. */
    SILENCE_MILLISECONDS = 10000,
};

enum state { CLOSED, CONNECTING, IDLE, SENDING, HEAD, BODY };

struct connection {
    enum state state;
    int fd;
    SSL *tls;
    size_t sent;
    size_t filled;
    size_t body_left;
    bool failed;
    int64_t due;
    char head[HEAD_BYTES_MAX];
};

static struct {
    int port, connections, rate;
    long requests;
    double seconds;
    size_t answer_bytes, post_bytes;
    bool any, tls, fresh, hold;
    const char *path;
    char fields[4096];
} options = {.connections = 1, .path = "/"};

static struct {
    long good, errors, opened, started;
    char first_error[128];
    uint32_t *latencies;
    size_t latencies_length, latencies_room;
} seen;

static char *request;
static size_t request_length;
static char *buffer;
static struct connection *connections;
static int poll_fd;
static SSL_CTX *tls_context;
static bool stopping;

static void next(struct connection *connection);

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* --- Connections ------------------------------------------------------------------------------- */

static void drop(struct connection *connection) {
    if (connection->tls) {
        SSL_set_quiet_shutdown(connection->tls, 1);
        SSL_free(connection->tls);
        connection->tls = NULL;
    }
    if (connection->state != CLOSED) close(connection->fd);
    connection->state = CLOSED;
}

static void failed(struct connection *connection, const char *why, long detail) {
    if (seen.errors++ == 0) snprintf(seen.first_error, sizeof seen.first_error, "%s (%ld)", why, detail);
    if (seen.errors >= ERRORS_MAX) stopping = true;
    connection->failed = true;
    drop(connection);
}

static void connect_to_proxy(struct connection *connection) {
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) fail("socket");
    connection->state = CONNECTING;
    seen.opened++;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        failed(connection, "connect", errno);
        return;
    }
    if (options.tls) {
        connection->tls = SSL_new(tls_context);
        SSL_set_fd(connection->tls, connection->fd);
        SSL_set_tlsext_host_name(connection->tls, "localhost");
        SSL_set_connect_state(connection->tls);
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, connection->fd, &event)) fail("epoll_ctl");
}

/* Bytes that went, 0 when there is no room, -1 at the end of the connection. */
static ssize_t tls_result(struct connection *connection, int result) {
    if (result > 0) return result;
    int error = SSL_get_error(connection->tls, result);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t put(struct connection *connection, const char *bytes, size_t length) {
    if (connection->tls) return tls_result(connection, SSL_write(connection->tls, bytes, (int)length));
    ssize_t count = send(connection->fd, bytes, length, MSG_NOSIGNAL);
    return count < 0 && errno == EAGAIN ? 0 : count;
}

static ssize_t take(struct connection *connection, char *bytes, size_t room) {
    if (connection->tls) return tls_result(connection, SSL_read(connection->tls, bytes, (int)room));
    ssize_t count = recv(connection->fd, bytes, room, 0);
    if (count < 0 && errno == EAGAIN) return 0;
    return count == 0 ? -1 : count;
}

/* --- Requests and answers ---------------------------------------------------------------------- */

/* Gives a connection its next request; `drive` sends it. */
static void start_request(struct connection *connection, int64_t due) {
    connection->due = due;
    connection->sent = connection->filled = 0;
    seen.started++;
    if (connection->state == CLOSED) connect_to_proxy(connection);
    else connection->state = SENDING;
}

static void answered(struct connection *connection) {
    if (seen.latencies_length == seen.latencies_room) {
        seen.latencies_room = seen.latencies_room ? seen.latencies_room * 2 : 65536;
        seen.latencies = realloc(seen.latencies, seen.latencies_room * sizeof *seen.latencies);
        if (!seen.latencies) fail("realloc");
    }
    seen.latencies[seen.latencies_length++] = (uint32_t)((now() - connection->due) / 1000);
    seen.good++;
    connection->state = IDLE;
    if (options.fresh) drop(connection);
}

/* The length of the body that a head announces; -1 when it is not an answer to count. */
static long body_length(const char *head, const char *end) {
    if (!options.any && strncmp(head, "HTTP/1.1 200", 12)) return -1;
    for (const char *at = head; (at = memchr(at, '\n', (size_t)(end - at))) && at < end; ) {
        at++;
        if (!strncasecmp(at, "content-length:", 15)) return strtol(at + 15, NULL, 10);
    }
    return -1;
}

/* False when it must wait for more, or the connection has ended. */
static bool read_head(struct connection *connection) {
    ssize_t count = take(connection, connection->head + connection->filled, HEAD_BYTES_MAX - 1 - connection->filled);
    if (count < 0) failed(connection, "closed before an answer", errno);
    if (count <= 0) return false;
    connection->filled += (size_t)count;
    connection->head[connection->filled] = 0;
    const char *end = memmem(connection->head, connection->filled, "\r\n\r\n", 4);
    if (!end) {
        if (connection->filled == HEAD_BYTES_MAX - 1) failed(connection, "head too long", HEAD_BYTES_MAX);
        return connection->state != CLOSED;
    }
    size_t body_here = connection->filled - (size_t)(end + 4 - connection->head);
    long length = body_length(connection->head, end);
    if (length < 0 || (!options.any && length != (long)options.answer_bytes) || body_here > (size_t)length) {
        failed(connection, "status, or length of the body", strtol(connection->head + 9, NULL, 10));
        return false;
    }
    connection->body_left = (size_t)length - body_here;
    connection->state = BODY;
    return true;
}

static bool read_body(struct connection *connection) {
    while (connection->body_left > 0) {
        size_t room = connection->body_left < BUFFER_BYTES ? connection->body_left : BUFFER_BYTES;
        ssize_t count = take(connection, buffer, room);
        if (count < 0) failed(connection, "closed within an answer", errno);
        if (count <= 0) return false;
        connection->body_left -= (size_t)count;
    }
    answered(connection);
    next(connection);
    return true;
}

static bool write_request(struct connection *connection) {
    while (connection->sent < request_length) {
        ssize_t count = put(connection, request + connection->sent, request_length - connection->sent);
        if (count < 0) failed(connection, "closed while sending", errno);
        if (count <= 0) return false;
        connection->sent += (size_t)count;
    }
    /* The answer is an event of its own: looking for it at once would be a call for nothing. */
    connection->state = HEAD;
    return false;
}

static bool finish_connecting(struct connection *connection) {
    int error = 0;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error) {
        failed(connection, "connect", error);
        return false;
    }
    if (connection->tls) {
        ssize_t result = tls_result(connection, SSL_do_handshake(connection->tls));
        if (result < 0) failed(connection, "TLS handshake", errno);
        if (result <= 0) return false;
    }
    connection->state = SENDING;
    return true;
}

/* Goes on as far as it can without waiting. */
static void drive(struct connection *connection) {
    for (bool on = true; on; ) {
        switch (connection->state) {
        case CONNECTING: on = finish_connecting(connection); break;
        case SENDING: on = write_request(connection); break;
        case HEAD: on = read_head(connection); break;
        case BODY: on = read_body(connection); break;
        default: on = false;
        }
    }
}

/* --- When requests are made -------------------------------------------------------------------- */

/* Connections without a request, and the times of requests without a connection: both first in, first out. */
static struct connection **free_connections;
static long free_first, free_last;
static int64_t pace_begun, pace_sent;

static bool may_start(void) {
    return !stopping && (options.requests == 0 || seen.started < options.requests);
}

/* What a connection does after an answer. */
static void next(struct connection *connection) {
    if (options.hold) {
        for (int at = 0; at < options.connections && may_start(); at++) {
            if (connections[at].state == CLOSED) {
                start_request(&connections[at], now());
                return;
            }
        }
    } else if (options.rate) {
        free_connections[free_last++ % options.connections] = connection;
    } else if (may_start()) {
        start_request(connection, now());
    }
}

/* Sends all requests that are due, as far as there are free connections. */
static void keep_pace(void) {
    int64_t interval = 1000000000 / options.rate, time = now();
    while (may_start() && free_first < free_last) {
        int64_t due = pace_begun + pace_sent * interval;
        if (due > time) break;
        pace_sent++;
        struct connection *connection = free_connections[free_first++ % options.connections];
        start_request(connection, due);
        drive(connection);
    }
}

static int pace_timer(void) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    long interval = 1000000000L / options.rate;
    struct itimerspec every = {{0, interval}, {0, interval}};
    if (timer < 0 || timerfd_settime(timer, 0, &every, NULL)) fail("timerfd");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer, &event)) fail("epoll_ctl");
    pace_begun = now();
    return timer;
}

static long under_way(void) {
    return seen.started - seen.good - seen.errors;
}

static void begin(void) {
    int first = options.hold && options.connections > HOLD_TOGETHER ? HOLD_TOGETHER : options.connections;
    for (int at = 0; at < first && may_start(); at++) {
        if (options.rate) free_connections[free_last++] = &connections[at];
        else start_request(&connections[at], now());
    }
}

/* A connection that an error has closed goes on. */
static void after_failure(struct connection *connection) {
    connection->failed = false;
    if (options.hold) return;
    if (options.rate) free_connections[free_last++ % options.connections] = connection;
    else if (may_start()) start_request(connection, now());
}

static void run(void) {
    int timer = options.rate ? pace_timer() : -1;
    int64_t begun = now(), end = options.seconds > 0 ? begun + (int64_t)(options.seconds * 1e9) : INT64_MAX;
    begin();
    while (may_start() || under_way() > 0) {
        struct epoll_event events[EVENTS_MAX];
        int ready = epoll_wait(poll_fd, events, EVENTS_MAX, SILENCE_MILLISECONDS);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int at = 0; at < ready; at++) {
            struct connection *connection = events[at].data.ptr;
            if (!connection) {
                uint64_t ticks;
                if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) fail("read");
            } else if (connection->state == IDLE) {
                if (events[at].events & (EPOLLRDHUP | EPOLLHUP)) drop(connection);
            } else {
                drive(connection);
                if (connection->failed) after_failure(connection);
            }
        }
        if (options.rate) keep_pace();
        int64_t time = now();
        if (time >= end) stopping = true;
        if (stopping && (time - end > DRAIN_SECONDS * 1000000000LL || seen.errors >= ERRORS_MAX)) break;
        if (ready == 0) break;
    }
    if (under_way() > 0) {
        if (seen.errors == 0) snprintf(seen.first_error, sizeof seen.first_error, "no answer (%ld)", under_way());
        seen.errors += under_way();
    }
    options.seconds = (double)(now() - begun) / 1e9;
}

/* --- Start and result -------------------------------------------------------------------------- */

static int by_length(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static uint32_t quantile(double share) {
    if (seen.latencies_length == 0) return 0;
    size_t at = (size_t)(share * (double)seen.latencies_length);
    return seen.latencies[at < seen.latencies_length ? at : seen.latencies_length - 1];
}

static void tell(void) {
    qsort(seen.latencies, seen.latencies_length, sizeof *seen.latencies, by_length);
    printf("{\"good\":%ld,\"errors\":%ld,\"first_error\":\"%s\",", seen.good, seen.errors, seen.first_error);
    printf("\"opened\":%ld,\"seconds\":%.6f,\"p50_us\":%u,\"p99_us\":%u}\n", seen.opened, options.seconds, quantile(0.5),
           quantile(0.99));
    fflush(stdout);
}

static void make_request(void) {
    request = malloc(8192 + options.post_bytes);
    buffer = malloc(BUFFER_BYTES);
    connections = calloc((size_t)options.connections, sizeof *connections);
    free_connections = calloc((size_t)options.connections, sizeof *free_connections);
    if (!request || !buffer || !connections || !free_connections) fail("malloc");
    char length[64] = "";
    if (options.post_bytes) snprintf(length, sizeof length, "Content-Length: %zu\r\n", options.post_bytes);
    const char *method = options.post_bytes ? "POST" : "GET", *end = options.fresh ? "Connection: close\r\n" : "";
    request_length = (size_t)snprintf(request, 8192, "%s %s HTTP/1.1\r\nHost: localhost:%d\r\n%s%s%s\r\n", method,
                                      options.path, options.port, options.fields, length, end);
    memset(request + request_length, 'w', options.post_bytes);
    request_length += options.post_bytes;
}

static void read_options(int count, char **arguments) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'}, {"path", 1, 0, 'P'}, {"answer-bytes", 1, 0, 'a'}, {"connections", 1, 0, 'c'},
        {"seconds", 1, 0, 's'}, {"requests", 1, 0, 'n'}, {"header", 1, 0, 'h'}, {"rate", 1, 0, 'r'},
        {"post-bytes", 1, 0, 'b'}, {"any", 0, 0, 'A'}, {"tls", 0, 0, 't'}, {"fresh", 0, 0, 'f'},
        {"hold", 0, 0, 'H'}, {0}};
    for (int option; (option = getopt_long(count, arguments, "", known, NULL)) != -1; ) {
        size_t used = strlen(options.fields);
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'P': options.path = optarg; break;
        case 'a': options.answer_bytes = strtoul(optarg, NULL, 10); break;
        case 'c': options.connections = atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'n': options.requests = atol(optarg); break;
        case 'h': snprintf(options.fields + used, sizeof options.fields - used, "%s\r\n", optarg); break;
        case 'r': options.rate = atoi(optarg); break;
        case 'b': options.post_bytes = strtoul(optarg, NULL, 10); break;
        case 'A': options.any = true; break;
        case 't': options.tls = true; break;
        case 'f': options.fresh = true; break;
        case 'H': options.hold = true; break;
        default: exit(2);
        }
    }
    if (options.hold) options.requests = options.connections;
    if (options.seconds <= 0 && options.requests <= 0) {
        fprintf(stderr, "load: give --seconds, --requests or --hold\n");
        exit(2);
    }
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    make_request();
    signal(SIGPIPE, SIG_IGN);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (options.tls) {
        tls_context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION);
        SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set1_groups_list(tls_context, "X25519");
        SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    run();
    tell();
    if (options.hold) while (read(0, buffer, BUFFER_BYTES) > 0) continue;
    return seen.errors > 0;
}
