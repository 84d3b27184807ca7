//! Where the messages of a gRPC body end (gRPC over HTTP/2, "Length-Prefixed-Message"): whoever
//! waits for one need not wait for the next.

use http::header;

use crate::fields::Fields;

/// Whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Follows a body from message to message.
#[derive(Debug, Default)]
pub struct Messages {
    prefix: [u8; PREFIX_BYTES],
    /// How much of the prefix is there.
    known: usize,
    /// How much of the message is still to come.
    left: usize,
}

impl Messages {
    /// Those of an answer with these fields; nothing where it is no gRPC. Text in base64 (gRPC-Web)
    /// has no messages that could be told apart here.
    pub fn of(headers: &Fields) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?;
        let rest = kind.strip_prefix(b"application/grpc")?;
        let is_framed = matches!(rest.first(), None | Some(b'+' | b';'))
            || rest.starts_with(b"-web") && !rest.starts_with(b"-web-text");
        is_framed.then(Self::default)
    }

    /// Whether a message ends where `bytes`, the next ones, end.
    pub fn end_with(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((first, rest)) = bytes.split_first() {
            if self.known < PREFIX_BYTES {
                if let Some(place) = self.prefix.get_mut(self.known) {
                    *place = *first;
                }
                self.known += 1;
                bytes = rest;
                if self.known == PREFIX_BYTES {
                    let [_, length @ ..] = self.prefix;
                    self.left = u32::from_be_bytes(length) as usize;
                }
            } else {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
            }
            if self.known == PREFIX_BYTES && self.left == 0 {
                self.known = 0;
            }
        }
        self.known == 0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_is_framed_has_messages() {
        for (kind, is_framed) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=x", true),
            ("application/grpc-web+proto", true),
            ("application/grpc-web-text", false),
            ("application/grpcish", false),
            ("application/json", false),
        ] {
            let mut headers = Fields::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(Messages::of(&headers).is_some(), is_framed, "{kind}");
        }
    }

    #[test]
    fn messages_end_where_their_lengths_say() {
        let body = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0], &[7; 256]];
        let body = body.concat();
        let ends = [8, 13, body.len()];
        for step in [1, 2, 3, 5, 8, 13, 300] {
            let (mut messages, mut position) = (Messages::default(), 0);
            for piece in body.chunks(step) {
                position += piece.len();
                assert_eq!(messages.end_with(piece), ends.contains(&position), "{step} {position}");
            }
        }
    }
}
