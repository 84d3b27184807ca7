//! Sends what a printed `curl` line would send; the machine need not have `curl`.

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A `curl` line, understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Curl {
    pub method: Option<String>,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Curl {
    /// Reads one line as a POSIX shell and then `curl` do.
    pub fn parse(line: &str) -> Curl {
        let mut words = words(line).into_iter();
        assert_eq!(words.next().as_deref(), Some("curl"), "{line}");
        let mut curl = Curl::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} of {line}"));
            match word.as_str() {
                "-sw" => assert_eq!(value(), r"\n"),
                "-X" => curl.method = Some(value()),
                "-H" => {
                    let header = value();
                    let (name, value) = header.split_once(": ").unwrap();
                    curl.headers.push((name.to_owned(), value.to_owned()));
                }
                "-d" => curl.body = value(),
                url => {
                    assert!(url.starts_with("http://127.0.0.1:"), "{url} of {line}");
                    assert_eq!(curl.url, "", "{line}");
                    curl.url = url.to_owned();
                }
            }
        }
        curl
    }

    pub async fn send(&self) -> (StatusCode, String) {
        let url: Uri = self.url.parse().unwrap();
        let authority = url.authority().unwrap().as_str();
        let stream = TcpStream::connect(authority).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(self.method.as_deref().unwrap_or("GET"))
            .uri(url.path_and_query().unwrap().as_str())
            .header(header::HOST, authority)
            .header(header::USER_AGENT, "curl/8.5.0")
            .header(header::ACCEPT, "*/*");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::<Bytes>::from(self.body.clone())).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        (head.status, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// The words of a line; only bare words and single quotes, as the demo writes them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), None::<String>, false);
    let mut letters = line.trim().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            _ if is_quoted => word.get_or_insert_default().push(letter),
            ' ' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(letters.next()),
            '"' | '$' | '`' | '&' | '?' | '*' | ';' | '{' | '<' | '>' | '|' | '~' | '#' => {
                panic!("a shell would do something with {letter:?} in {line}")
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    assert!(!is_quoted, "{line}");
    words.extend(word);
    words
}

#[test]
fn a_line_is_read_as_a_shell_reads_it() {
    let line =
        r#"curl -sw '\n' -X PUT 'http://127.0.0.1:1/a?b=c' -H 'x: it'\''s' -d '{"a b":"\"c\""}'"#;
    let expected = Curl {
        method: Some("PUT".to_owned()),
        url: "http://127.0.0.1:1/a?b=c".to_owned(),
        headers: vec![("x".to_owned(), "it's".to_owned())],
        body: r#"{"a b":"\"c\""}"#.to_owned(),
    };
    assert_eq!(Curl::parse(line), expected);
}
