//! Parser of a ClientHello, as far as a server must read it before it has an engine (RFC 5246 §7.4.1.2, RFC 8446
//! §4.1.2).

use super::records::number;

/// Fields of a ClientHello.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hello<'a> {
    pub(super) random: &'a [u8],
    /// Cookie of DTLS 1.2 (RFC 6347 §4.2.1); empty if there is none.
    pub(super) legacy_cookie: &'a [u8],
    /// Cookie of DTLS 1.3 (RFC 8446 §4.2.2); empty if there is none.
    pub(super) cookie: &'a [u8],
    pub(super) offers_dtls13: bool,
    /// Whether it brings a key share of a group that this side has.
    pub(super) has_share: bool,
}

impl<'a> Hello<'a> {
    /// Parses the body of a ClientHello. Returns `None` if it is not one.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let layout = Layout::of(body)?;
        let mut hello = Self {
            random: body.get(2..34)?,
            legacy_cookie: &body[layout.cookie + 1..layout.cookie + 1 + layout.cookie_length],
            cookie: &[],
            offers_dtls13: false,
            has_share: false,
        };
        for (kind, content) in layout.extensions(body) {
            match kind {
                SUPPORTED_VERSIONS => {
                    let versions = content.get(1..).unwrap_or_default();
                    hello.offers_dtls13 =
                        versions.chunks_exact(2).any(|version| version == [0xfe, 0xfc]);
                }
                COOKIE => hello.cookie = content.get(2..).unwrap_or_default(),
                KEY_SHARE => hello.has_share = shares(content).any(|group| GROUPS.contains(&group)),
                _ => {}
            }
        }
        Some(hello)
    }

    /// Returns whether it shows a cookie, in either field.
    pub(super) fn has_cookie(&self) -> bool {
        !self.legacy_cookie.is_empty() || !self.cookie.is_empty()
    }
}

/// Returns the hellos that may have come before this one, which shows a cookie: without the cookie, and with the
/// padding that a stack may have put in its place (RFC 8446 §4.1.2 lets nothing else change after a request for a
/// cookie alone). Returns none for a hello with a cookie longer than ours.
pub(super) fn without_cookie(body: &[u8]) -> Vec<Vec<u8>> {
    let Some(layout) = Layout::of(body) else { return Vec::new() };
    let head =
        [&body[..layout.cookie], &[0], &body[layout.cookie + 1 + layout.cookie_length..layout.end]]
            .concat();
    let (mut extensions, mut padding, mut removed) = (Vec::new(), None, 0);
    let mut read = layout.end + 2;
    for (kind, content) in layout.extensions(body) {
        read += 4 + content.len();
        match kind {
            // Padding consists of zeros (RFC 7685 §3): with anything else in it, it is not the client's.
            PADDING if content.iter().any(|&byte| byte != 0) => return Vec::new(),
            COOKIE if content.len() > OUR_COOKIE => return Vec::new(),
            COOKIE => removed = 4 + content.len(),
            PADDING => padding = Some(content.len()),
            _ => extensions.extend(extension(kind, content)),
        }
    }
    if read != body.len() && layout.end != body.len() {
        return Vec::new();
    }
    let with = |padding: Option<usize>| {
        let mut all = extensions.clone();
        all.extend(padding.iter().flat_map(|&length| extension(PADDING, &vec![0; length])));
        [&head[..], &(all.len() as u16).to_be_bytes(), &all].concat()
    };
    match padding {
        // Padding fills up to a length: there was more of it without the cookie.
        Some(length) => vec![with(Some(length + removed)), with(Some(length))],
        None if removed == 0 => vec![with(None)],
        None => [None].into_iter().chain((0..removed).map(Some)).map(with).collect(),
    }
}

fn extension(kind: usize, content: &[u8]) -> Vec<u8> {
    [&(kind as u16).to_be_bytes(), &(content.len() as u16).to_be_bytes(), content].concat()
}

/// Positions within a hello.
struct Layout {
    /// Position of the cookie's length, which precedes the cookie.
    cookie: usize,
    cookie_length: usize,
    /// End of the compression methods, where the length of the extensions is.
    end: usize,
}

impl Layout {
    fn of(body: &[u8]) -> Option<Self> {
        let cookie = 35 + usize::from(*body.get(34)?);
        let cookie_length = usize::from(*body.get(cookie)?);
        let suites = cookie + 1 + cookie_length;
        let compression = suites + 2 + number(body, suites)?;
        let end = compression + 1 + usize::from(*body.get(compression)?);
        (end <= body.len()).then_some(Self { cookie, cookie_length, end })
    }

    fn extensions<'a>(&self, body: &'a [u8]) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let length = number(body, self.end).unwrap_or_default();
        let mut rest = body.get(self.end + 2..).unwrap_or_default();
        rest = &rest[..length.min(rest.len())];
        std::iter::from_fn(move || {
            let (kind, length) = (number(rest, 0)?, number(rest, 2)?);
            let content = rest.get(4..4 + length)?;
            rest = &rest[4 + length..];
            Some((kind, content))
        })
    }
}

/// Returns the groups of the key shares.
fn shares(content: &[u8]) -> impl Iterator<Item = usize> + use<'_> {
    let mut rest = content.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (group, length) = (number(rest, 0)?, number(rest, 2)?);
        rest = rest.get(4 + length..)?;
        Some(group)
    })
}

/// Groups that this side has: X25519, secp256r1, secp384r1.
const GROUPS: [usize; 3] = [0x1d, 0x17, 0x18];
const PADDING: usize = 21;
/// Numbers of extensions (RFC 8446 §4.2).
const SUPPORTED_VERSIONS: usize = 43;
const COOKIE: usize = 44;
const KEY_SHARE: usize = 51;
/// Length of our cookie extension in bytes: a length field, and 32 bytes.
const OUR_COOKIE: usize = 34;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(legacy_cookie: &[u8], extensions: &[(usize, Vec<u8>)]) -> Vec<u8> {
        let all: Vec<u8> =
            extensions.iter().flat_map(|(kind, content)| extension(*kind, content)).collect();
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, legacy_cookie.len() as u8]);
        body.extend(legacy_cookie);
        body.extend([0, 2, 0x13, 1, 1, 0]);
        body.extend((all.len() as u16).to_be_bytes());
        body.extend(all);
        body
    }

    fn cookie() -> (usize, Vec<u8>) {
        (COOKIE, [&[0, 32][..], &[9; 32]].concat())
    }

    #[test]
    fn a_hello_says_what_a_server_must_know() {
        let versions = (SUPPORTED_VERSIONS, vec![4, 0xfe, 0xfc, 0xfe, 0xfd]);
        let share = (KEY_SHARE, [&[0, 36, 0, 0x1d, 0, 32][..], &[1; 32]].concat());
        let body = hello(&[], &[versions, cookie(), share]);
        let found = Hello::parse(&body).unwrap();
        assert!(found.offers_dtls13 && found.has_share && found.has_cookie());
        assert_eq!((found.cookie, found.random), (&[9; 32][..], &[7; 32][..]));

        let body = hello(&[5; 20], &[(KEY_SHARE, vec![0, 5, 0x11, 0xec, 0, 1, 1])]);
        let found = Hello::parse(&body).unwrap();
        assert!(!found.offers_dtls13 && !found.has_share);
        assert_eq!(found.legacy_cookie, [5; 20]);
    }

    #[test]
    fn the_hello_before_is_the_one_without_the_cookie() {
        let share = || (KEY_SHARE, vec![0, 0]);
        for (before, after) in [
            (hello(&[], &[share()]), hello(&[3; 32], &[share()])),
            (hello(&[], &[share()]), hello(&[], &[cookie(), share()])),
            (
                hello(&[], &[share(), (PADDING, vec![0; 98])]),
                hello(&[], &[share(), cookie(), (PADDING, vec![0; 60])]),
            ),
            (hello(&[], &[share(), (PADDING, vec![0; 20])]), hello(&[], &[share(), cookie()])),
        ] {
            assert!(without_cookie(&after).contains(&before));
            // What is not the client's is not taken for it.
            let more = [&after[..], &[0]].concat();
            assert!(!without_cookie(&more).contains(&before));
        }
        let padded = hello(&[], &[cookie(), (PADDING, vec![1; 60])]);
        assert!(without_cookie(&padded).is_empty());
    }

    #[test]
    fn a_hello_with_a_cookie_of_any_length_takes_no_more_memory_than_a_few_hellos() {
        for length in [0, 34, 35, 200, 8_000] {
            let body = hello(&[], &[(COOKIE, vec![9; length])]);
            let bytes = without_cookie(&body).iter().map(Vec::len).sum::<usize>();
            assert!(bytes <= 64 * body.len(), "{length}: {bytes} bytes");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_anyone_sends_is_a_panic(mut body: Vec<u8>, session: bool) {
            if session && body.len() > 40 {
                body[34] = 0;
                body[35] %= 8;
            }
            _ = Hello::parse(&body);
            _ = without_cookie(&body);
        }
    }
}
