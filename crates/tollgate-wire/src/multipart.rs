//! `multipart/form-data`: a form read within bounds, and one field of it set, every other byte as it was.
//!
//! What is read here is what a cost is bounded by, so it must be what the provider reads: anything that two parsers
//! could take for two different things (a boundary that almost ends a part, a name with escapes, a field that
//! stands twice) is refused rather than interpreted.

use std::ops::Range;

use memchr::memmem;

/// Parts of one form at most: sixteen images, a mask, and every field that any surface knows.
pub const MAX_PARTS: usize = 64;
/// Bytes of a part's headers at most.
pub const MAX_PART_HEAD_BYTES: usize = 4 << 10;
/// Bytes of a field that is read as text: a prompt of 32,000 characters.
pub const MAX_FIELD_BYTES: usize = 128 << 10;
/// Characters of a boundary, as RFC 2046 allows.
const MAX_BOUNDARY_BYTES: usize = 70;

/// Why a form cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The content type is not that of a form.
    #[error("the body must be a form: send it as multipart/form-data")]
    NotAForm,
    /// There is no boundary, or it is none.
    #[error(
        "the content type names no usable boundary: it has 1 to {MAX_BOUNDARY_BYTES} visible ASCII characters"
    )]
    NoBoundary,
    /// The body does not begin with the boundary.
    #[error("the form does not begin with its boundary")]
    NoFirstPart,
    /// It ends in the middle.
    #[error("the form is broken off: its last boundary is missing")]
    BrokenOff,
    /// A line that begins like a boundary and goes on.
    #[error("the form's boundary stands in one of its parts: choose another")]
    AmbiguousBoundary,
    /// Too many parts.
    #[error("the form has more than {MAX_PARTS} parts: send fewer")]
    TooManyParts,
    /// A part whose headers cannot be read.
    #[error(
        "a part of the form has unreadable headers: each needs `Content-Disposition: form-data; name=\"…\"`"
    )]
    BadHead,
    /// A part in a transfer encoding, which hides what it holds.
    #[error("a part of the form has a Content-Transfer-Encoding: send it as it is")]
    Encoded,
    /// A field that stands twice.
    #[error("the form's field `{0}` stands twice: send it once")]
    Twice(String),
    /// A field that is no text, or is too long.
    #[error("the form's field `{0}` must be text of at most {MAX_FIELD_BYTES} bytes")]
    NotText(String),
    /// Bytes after the end.
    #[error("the form goes on after its last boundary")]
    Trailing,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its field's name.
    pub name: String,
    /// Whether it has a file name.
    pub is_file: bool,
    /// Where its file name stands, without quotes; `None` where it is written in another way, too.
    pub file_name: Option<Range<usize>>,
    /// Where its content stands.
    pub content: Range<usize>,
}

/// A form's parts, by where they stand in its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    boundary: String,
    /// In their order.
    pub parts: Vec<Part>,
}

impl Form {
    /// Reads a form.
    ///
    /// # Errors
    /// [`FormError`] for everything that is no form, is beyond the bounds, or could be read in two ways.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, FormError> {
        let boundary = boundary_of(content_type.unwrap_or_default())?;
        let delimiter = format!("--{boundary}");
        let mut at = body.strip_prefix(delimiter.as_bytes()).map(|_| delimiter.len());
        let mut form = Self { boundary, parts: Vec::new() };
        let between = format!("\r\n{delimiter}");
        let finder = memmem::Finder::new(between.as_bytes());
        loop {
            let after = at.ok_or(FormError::NoFirstPart)?;
            let start = match after_delimiter(body, after)? {
                Some(start) => start,
                None => return Ok(form),
            };
            if form.parts.len() == MAX_PARTS {
                return Err(FormError::TooManyParts);
            }
            let (mut part, content) = read_head(body, start)?;
            if body[content..].starts_with(delimiter.as_bytes()) {
                return Err(FormError::AmbiguousBoundary);
            }
            let end = finder.find(&body[content..]).ok_or(FormError::BrokenOff)? + content;
            part.content = content..end;
            form.parts.push(part);
            at = Some(end + between.len());
        }
    }

    /// The text of a field that stands at most once; `None` where it is absent.
    ///
    /// # Errors
    /// It stands twice, is a file, or is no text.
    pub fn text<'a>(&self, body: &'a [u8], name: &str) -> Result<Option<&'a str>, FormError> {
        let mut found = self.parts.iter().filter(|part| part.name == name);
        let Some(part) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(FormError::Twice(name.to_owned()));
        }
        let content = body.get(part.content.clone()).filter(|content| content.len() <= MAX_FIELD_BYTES);
        let text = content.filter(|_| !part.is_file).and_then(|content| std::str::from_utf8(content).ok());
        text.map(Some).ok_or_else(|| FormError::NotText(name.to_owned()))
    }

    /// The form with the field set to `value`, which must have no line end: in its place where it is there, else as
    /// the first part. `body` must be the form's own.
    #[must_use]
    pub fn with_field(&self, body: &[u8], name: &str, value: &str) -> Vec<u8> {
        debug_assert!(!value.contains(['\r', '\n']), "a value with line ends could add parts");
        let mut out = Vec::with_capacity(body.len() + self.boundary.len() + name.len() + value.len() + 64);
        match self.parts.iter().find(|part| part.name == name) {
            Some(part) => {
                out.extend_from_slice(&body[..part.content.start]);
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(&body[part.content.end..]);
            }
            None => {
                let boundary = &self.boundary;
                let head = format!(
                    "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
                );
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(body);
            }
        }
        out
    }
}

/// The boundary in a form's content type.
fn boundary_of(content_type: &str) -> Result<String, FormError> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(FormError::NotAForm);
    }
    let mut found = None;
    for parameter in parameters.split(';') {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("boundary") && found.replace(value.trim()).is_some() {
            return Err(FormError::NoBoundary);
        }
    }
    let value = found.ok_or(FormError::NoBoundary)?;
    let value =
        value.strip_prefix('"').map_or(Some(value), |inner| inner.strip_suffix('"')).unwrap_or_default();
    let is_usable = (1..=MAX_BOUNDARY_BYTES).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b';'));
    if is_usable { Ok(value.to_owned()) } else { Err(FormError::NoBoundary) }
}

/// Where the part after a delimiter begins; `None` after the last one.
fn after_delimiter(body: &[u8], at: usize) -> Result<Option<usize>, FormError> {
    let rest = body.get(at..).unwrap_or_default();
    if let Some(epilogue) = rest.strip_prefix(b"--") {
        return if matches!(epilogue, b"" | b"\r\n") { Ok(None) } else { Err(FormError::Trailing) };
    }
    if rest.starts_with(b"\r\n") {
        return Ok(Some(at + 2));
    }
    Err(if rest.len() < 2 { FormError::BrokenOff } else { FormError::AmbiguousBoundary })
}

/// A part's headers, and where its content begins.
fn read_head(body: &[u8], start: usize) -> Result<(Part, usize), FormError> {
    let window = &body[start..body.len().min(start + MAX_PART_HEAD_BYTES)];
    let end = memmem::find(window, b"\r\n\r\n").ok_or(FormError::BadHead)?;
    let head = std::str::from_utf8(&window[..end]).map_err(|_| FormError::BadHead)?;
    let mut disposition = None;
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or(FormError::BadHead)?;
        // a line that goes on with the one above, or a bare CR or LF in one
        if name.is_empty()
            || name.bytes().any(|byte| !byte.is_ascii_graphic())
            || value.contains(['\r', '\n'])
        {
            return Err(FormError::BadHead);
        }
        if name.eq_ignore_ascii_case("content-disposition") && disposition.replace(value.trim()).is_some() {
            return Err(FormError::BadHead);
        }
        let is_plain = |value: &str| {
            ["binary", "8bit", "7bit"].iter().any(|plain| value.trim().eq_ignore_ascii_case(plain))
        };
        if name.eq_ignore_ascii_case("content-transfer-encoding") && !is_plain(value) {
            return Err(FormError::Encoded);
        }
    }
    let read = disposition.and_then(read_disposition).ok_or(FormError::BadHead)?;
    let file_name = read.file_name.map(|name| {
        // a slice of the body
        let at = name.as_ptr().addr() - body.as_ptr().addr();
        at..at + name.len()
    });
    let (name, is_file) = (read.name.to_owned(), read.is_file);
    Ok((Part { name, is_file, file_name, content: 0..0 }, start + end + 4))
}

/// The name in `form-data; name="…"; filename="…"`, and whether there is a file name. A name must be plain, so that
/// everybody reads the same; a file's name may be anything.
fn read_disposition(value: &str) -> Option<Disposition<'_>> {
    let mut rest = value.strip_prefix("form-data").or_else(|| value.strip_prefix("Form-Data"))?.trim_start();
    let (mut name, mut file_name, mut is_extended) = (None, None, false);
    while let Some(after) = rest.strip_prefix(';') {
        let (key, after) = after.split_once('=')?;
        let (value, after) = read_value(after)?;
        match key.trim().to_ascii_lowercase().as_str() {
            "name" if name.is_none() => name = Some(value),
            "filename" if file_name.is_none() => file_name = Some(value),
            "filename*" => is_extended = true,
            _ => return None,
        }
        rest = after.trim_start();
    }
    let is_plain = |name: &&str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'%'))
    };
    let name = name.filter(is_plain)?;
    let is_file = file_name.is_some() || is_extended;
    rest.is_empty().then_some(Disposition { name, is_file, file_name: file_name.filter(|_| !is_extended) })
}

struct Disposition<'a> {
    name: &'a str,
    is_file: bool,
    file_name: Option<&'a str>,
}

/// A parameter's value, quoted or not, without its quotes but with its escapes; and what follows.
fn read_value(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim_end(), &text[end..]));
    };
    let mut is_escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some((&quoted[..at], &quoted[at + 1..])),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: Option<&str> = Some("multipart/form-data; boundary=XX");

    fn form(parts: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for (head, content) in parts {
            text.push_str(&format!("--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n"));
        }
        text.push_str("--XX--\r\n");
        text
    }

    #[test]
    fn a_form_is_read() {
        let body = form(&[
            ("name=\"model\"", "whisper-1"),
            ("name=\"file\"; filename=\"a \\\"b\\\".wav\"\r\nContent-Type: audio/wav", "RIFF\r\n\0\r\n--X"),
            ("name=empty", ""),
            ("name=\"image[]\"; filename*=UTF-8''a.png", "1"),
            ("name=\"image[]\"; filename=\"b.png\"", "2"),
        ]);
        let read = Form::read(TYPE, body.as_bytes()).unwrap();
        let seen: Vec<_> = read
            .parts
            .iter()
            .map(|part| (part.name.as_str(), part.is_file, &body[part.content.clone()]))
            .collect();
        assert_eq!(
            seen,
            [
                ("model", false, "whisper-1"),
                ("file", true, "RIFF\r\n\0\r\n--X"),
                ("empty", false, ""),
                ("image[]", true, "1"),
                ("image[]", true, "2"),
            ]
        );
        let names: Vec<_> = read.parts.iter().map(|part| Some(&body[part.file_name.clone()?])).collect();
        assert_eq!(names, [None, Some("a \\\"b\\\".wav"), None, None, Some("b.png")]);
        assert_eq!(read.text(body.as_bytes(), "model"), Ok(Some("whisper-1")));
        assert_eq!(read.text(body.as_bytes(), "none"), Ok(None));
        assert_eq!(read.text(body.as_bytes(), "empty"), Ok(Some("")));
        assert_eq!(read.text(body.as_bytes(), "file"), Err(FormError::NotText("file".into())));
        assert_eq!(read.text(body.as_bytes(), "image[]"), Err(FormError::Twice("image[]".into())));
        let quoted = Some("Multipart/Form-Data; charset=utf-8; Boundary=\"XX\"");
        assert_eq!(Form::read(quoted, body.as_bytes()).unwrap(), read);
    }

    #[test]
    fn a_field_is_set_and_nothing_else_changes() {
        let body = form(&[("name=\"model\"", "old"), ("name=\"file\"; filename=f", "\x01\r\n")]);
        let read = Form::read(TYPE, body.as_bytes()).unwrap();
        assert_eq!(
            read.with_field(body.as_bytes(), "model", "new-1"),
            body.replace("old", "new-1").into_bytes()
        );
        let added = read.with_field(body.as_bytes(), "other", "5");
        let again = Form::read(TYPE, &added).unwrap();
        assert_eq!(again.text(&added, "other"), Ok(Some("5")));
        assert!(added.ends_with(body.as_bytes()));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let good = form(&[("name=\"a\"", "1")]);
        let cases = [
            (Some("application/json"), good.clone(), FormError::NotAForm),
            (None, good.clone(), FormError::NotAForm),
            (Some("multipart/form-data"), good.clone(), FormError::NoBoundary),
            (Some("multipart/form-data; boundary=a b"), good.clone(), FormError::NoBoundary),
            (Some("multipart/form-data; boundary=XX; boundary=YY"), good.clone(), FormError::NoBoundary),
            (TYPE, format!("preamble\r\n{good}"), FormError::NoFirstPart),
            (TYPE, String::new(), FormError::NoFirstPart),
            (TYPE, good.replace("--XX--\r\n", ""), FormError::BrokenOff),
            (TYPE, good.replace("--XX--\r\n", "--XX"), FormError::BrokenOff),
            (TYPE, format!("{good}--XX\r\n"), FormError::Trailing),
            (TYPE, form(&[("name=\"a\"", "1\r\n--XXY")]), FormError::AmbiguousBoundary),
            (TYPE, form(&[("name=\"a\\\"b\"", "1")]), FormError::BadHead),
            (TYPE, form(&[("name=\"a%22\"", "1")]), FormError::BadHead),
            (TYPE, form(&[("name*=utf-8''a", "1")]), FormError::BadHead),
            (TYPE, form(&[("name=\"a\"; name=\"b\"", "1")]), FormError::BadHead),
            (TYPE, form(&[("filename=\"a\"", "1")]), FormError::BadHead),
            (
                TYPE,
                form(&[("name=\"a\"\r\nContent-Disposition: form-data; name=b", "1")]),
                FormError::BadHead,
            ),
            (TYPE, form(&[("name=\"a\"\r\n folded: x", "1")]), FormError::BadHead),
            (TYPE, form(&[("name=\"a\"\nname: x", "1")]), FormError::BadHead),
            (TYPE, form(&[("name=\"a\"\r\nContent-Transfer-Encoding: base64", "1")]), FormError::Encoded),
            (TYPE, form(&[("name=\"a\"", "1"); MAX_PARTS + 1]), FormError::TooManyParts),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(Form::read(content_type, body.as_bytes()), Err(expected), "{body:?}");
        }
        assert!(Form::read(TYPE, form(&[("name=\"a\"", "1"); MAX_PARTS]).as_bytes()).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_stands_in_the_body(
            body in "(--XX|\r\n|--|Content-Disposition: form-data; name=\"a\"|x|;|\"){0,24}"
        ) {
            if let Ok(form) = Form::read(TYPE, body.as_bytes()) {
                for part in &form.parts {
                    proptest::prop_assert!(body.as_bytes().get(part.content.clone()).is_some());
                    proptest::prop_assert!(!body.as_bytes()[part.content.clone()].windows(6).any(|w| w == b"\r\n--XX"));
                }
                let changed = form.with_field(body.as_bytes(), "model", "m");
                let again = Form::read(TYPE, &changed).unwrap();
                proptest::prop_assert_eq!(again.text(&changed, "model"), Ok(Some("m")));
            }
        }
    }
}
