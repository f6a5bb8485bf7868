//! `/passthrough/{provider}/…`: calls that have no surface here, sent to a provider as they came, with its credential.
//!
//! A key may use a provider's routes where its list of models names them: `{provider}/passthrough`, by itself or with a
//! wildcard for the provider. A list that is empty, or that allows everything, allows no pass-through. Each call costs
//! what the row of the model `passthrough` says per request; without such a row it is refused.

use std::borrow::Cow;

use http::{Method, Uri};
use tollgate_domain::{CredentialId, ErrorKind};
use tollgate_policy::{Candidate, KeyContext};

use crate::error::Refusal;

/// Where all of them begin.
pub(crate) const PREFIX: &str = "/passthrough/";
/// The model that stands for them in prices and in the lists of keys.
const MODEL: &str = "passthrough";
/// The same for files and batches, which every key may use that may ask for it.
const OBJECTS: &str = "files";

/// A call as it is to be made.
#[derive(Clone, Debug)]
pub(crate) struct PassthroughCall {
    pub(crate) method: Method,
    pub(crate) provider: String,
    /// After the provider's base URL, with its slash.
    path: String,
    /// Without any key.
    query: Option<String>,
    /// What stands for it in prices and in the lists of keys.
    model: Cow<'static, str>,
    /// No provider bills it; what it makes may be billed.
    is_unbilled: bool,
    /// The one credential to ask with, where it must be that.
    pub(crate) credential: Option<CredentialId>,
    /// The answer is relayed whatever it is said to be.
    pub(crate) is_opaque: bool,
    /// It pays for what goes on after its answer.
    pub(crate) keeps_hold: bool,
}

impl PassthroughCall {
    /// Reads a call's address; refuses what could lead anywhere else than below the provider's base URL.
    pub(crate) fn read(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        if !METHODS.contains(method) {
            let message = "this path takes GET, POST, PUT, PATCH and DELETE";
            let refusal = Refusal::new(ErrorKind::MethodNotAllowed, message);
            return Err(Refusal { allow: Some("GET, POST, PUT, PATCH, DELETE"), ..refusal });
        }
        let rest = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let (provider, path) = rest.split_once('/').unwrap_or((rest, ""));
        if provider.is_empty() || path.is_empty() {
            let message = "write /passthrough/{provider}/{path}, with the provider's name and a path below its base URL";
            return Err(Refusal::new(ErrorKind::NotFound, message));
        }
        if !is_plain(path) {
            let message = "the path must be plain: no empty or dotted segments, no backslashes, no escaped dots or slashes";
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("path"));
        }
        if *method == Method::POST && is_priced_elsewhere(path) {
            let message =
                "this call has a path of its own here, where it is paid for by what it uses: send it there";
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("path"));
        }
        let query = uri.query().map(|query| {
            let kept = query.split('&').filter(|pair| !is_key(pair));
            kept.collect::<Vec<_>>().join("&")
        });
        Ok(Self {
            method: method.clone(),
            provider: provider.to_owned(),
            path: format!("/{path}"),
            query: query.filter(|query| !query.is_empty()),
            model: Cow::Borrowed(MODEL),
            is_unbilled: false,
            credential: None,
            is_opaque: false,
            keeps_hold: false,
        })
    }

    /// A call about something that the provider keeps; `path` is one of ours.
    pub(crate) fn of_object(
        method: Method,
        provider: &str,
        path: String,
        credential: Option<CredentialId>,
    ) -> Self {
        Self {
            method,
            provider: provider.to_owned(),
            path,
            query: None,
            model: Cow::Borrowed(OBJECTS),
            is_unbilled: true,
            credential,
            is_opaque: false,
            keeps_hold: false,
        }
    }

    /// A call about a model, which stands for it on the receipt.
    pub(crate) fn about(self, model: &str) -> Self {
        Self { model: Cow::Owned(model.to_owned()), ..self }
    }

    pub(crate) fn with_query(self, query: String) -> Self {
        Self { query: Some(query), ..self }
    }

    pub(crate) fn opaque(self) -> Self {
        Self { is_opaque: true, ..self }
    }

    pub(crate) fn keeping_hold(self) -> Self {
        Self { keeps_hold: true, ..self }
    }

    /// Whether no provider bills it; what it makes may be billed.
    pub(crate) const fn is_unbilled(&self) -> bool {
        self.is_unbilled
    }

    /// What stands for it where a model is asked for.
    pub(crate) fn model(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    /// Refuses a key whose list does not name it.
    pub(crate) fn check(&self, context: &KeyContext) -> Result<(), Refusal> {
        if self.is_unbilled() {
            return Ok(());
        }
        if is_of_owners(&self.path) {
            let message = "files, batches and responses belong to the project that made them: use /v1/files, /v1/batches and /v1/responses";
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("path"));
        }
        let model = self.model();
        let names_it = |pattern: &String| pattern.rsplit_once('/').is_some_and(|(_, model)| model == MODEL);
        if context.key.models.iter().any(names_it) && context.allows_model_by(&model, names_it) {
            return Ok(());
        }
        let message = format!(
            "this key may not use pass-through routes: ask your operator to add `{model}` to its models"
        );
        Err(Refusal::new(ErrorKind::ModelNotAllowed, message).with_param("model"))
    }

    /// The address at the provider.
    pub(crate) fn url(&self, candidate: &Candidate) -> Result<Uri, String> {
        let base = match self.is_unbilled {
            true => Cow::Owned(crate::dialects::openai_base(&candidate.provider)),
            false => Cow::Borrowed(candidate.provider.base_url.trim_end_matches('/')),
        };
        let query = self.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        Uri::try_from(format!("{base}{}{query}", self.path))
            .map_err(|_| "the path is no part of a URL".to_owned())
    }
}

/// Whether a path leads to what has owners here: the provider would show everybody's.
fn is_of_owners(path: &str) -> bool {
    let path = crate::edge::percent_decoded(path).to_ascii_lowercase();
    let mut segments = path.split('/').filter(|segment| !matches!(*segment, "" | "v1" | "openai"));
    segments.next().is_some_and(|first| matches!(first, "files" | "batches" | "responses"))
}

/// Google's clients write their key into the query; ours stays here.
fn is_key(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    crate::edge::percent_decoded(name).eq_ignore_ascii_case("key")
}

/// Whether a path asks a model to work: such calls are bounded and counted on their own surfaces, or not at all.
fn is_priced_elsewhere(path: &str) -> bool {
    const ENDINGS: [&str; 21] = [
        "completions",
        "responses",
        "embeddings",
        "messages",
        "batches",
        "images/generations",
        "images/edits",
        "images/variations",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "moderations",
        "rerank",
        "chat",
        "embed",
        "classify",
        "converse",
        "converse-stream",
        "invoke",
        "invoke-with-response-stream",
        "runs",
    ];
    /// What Google's paths end with.
    const CALLS: [&str; 8] = [
        "generatecontent",
        "streamgeneratecontent",
        "batchgeneratecontent",
        "embedcontent",
        "batchembedcontents",
        "predict",
        "rawpredict",
        "streamrawpredict",
    ];
    let path = crate::edge::percent_decoded(path).to_ascii_lowercase();
    let path = path.trim_end_matches('/');
    let ends_with =
        |ending: &&str| path.strip_suffix(*ending).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    let call = path.rsplit_once(':').map(|(_, call)| call);
    ENDINGS.iter().any(ends_with) || call.is_some_and(|call| CALLS.contains(&call))
}

/// Whether every server takes the path for the same one.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let is_visible = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#');
    // twice escaped ones, too: some server on the way may unescape once
    let has_escapes =
        ["%2e", "%2f", "%5c", "%25", "%00", "%0a", "%0d"].iter().any(|escape| lower.contains(escape));
    // `;` begins a parameter, behind which some servers see no dots
    let has_odd_segment = path.split('/').enumerate().any(|(at, segment)| {
        let name = segment.split(';').next().unwrap_or_default();
        // the last may be empty: a trailing slash
        matches!(name, "." | "..") || (segment.is_empty() && at + 1 < path.split('/').count())
    });
    is_visible && !has_escapes && !has_odd_segment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<PassthroughCall, Refusal> {
        PassthroughCall::read(&Method::GET, &Uri::try_from(path).unwrap())
    }

    #[test]
    fn what_has_owners_is_known_in_every_spelling() {
        for path in
            ["/files", "/files/x/content", "/v1/Files", "/batch%65s/x", "/openai/v1/batches/", "/responses/r"]
        {
            assert!(is_of_owners(path), "{path}");
        }
        for path in ["/vector_stores/x/files", "/uploads", "/filesystem"] {
            assert!(!is_of_owners(path), "{path}");
        }
    }

    #[test]
    fn only_plain_paths_pass() {
        for (path, expected, query) in [
            ("/passthrough/openai/fine_tuning/jobs", "/fine_tuning/jobs", None),
            ("/passthrough/openai/a?limit=2&key=tgk_x&after=b", "/a", Some("limit=2&after=b")),
            ("/passthrough/openai/a?Key=tgk_x&k%65y=tgk_x", "/a", None),
            ("/passthrough/openai/a:b@c/~d%20e/", "/a:b@c/~d%20e/", None),
            ("/passthrough/openai/a...b/.c", "/a...b/.c", None),
            ("/passthrough/openai/http:/evil", "/http:/evil", None),
        ] {
            let call = read(path).unwrap();
            assert_eq!((call.path.as_str(), call.query.as_deref()), (expected, query), "{path}");
        }
        for path in [
            "/passthrough/openai/../admin",
            "/passthrough/openai/a/../../admin",
            "/passthrough/openai/..",
            "/passthrough/openai/./a",
            "/passthrough/openai//evil.example",
            "/passthrough/openai/a//b",
            "/passthrough/openai/http://evil.example/",
            "/passthrough/openai/%2e%2e/admin",
            "/passthrough/openai/%2E./admin",
            "/passthrough/openai/a%2fb",
            "/passthrough/openai/a%5c..%5cb",
            "/passthrough/openai/%252e%252e/admin",
            "/passthrough/openai/..;x/admin",
            "/passthrough/openai/a%0d%0ahost:evil",
            "/passthrough/openai/a%00",
        ] {
            assert_eq!(read(path).unwrap_err().kind, ErrorKind::InvalidRequest, "{path}");
        }
        for path in ["/passthrough/", "/passthrough/openai", "/passthrough/openai/", "/passthrough//a"] {
            assert_eq!(read(path).unwrap_err().kind, ErrorKind::NotFound, "{path}");
        }
        for path in [
            "chat/completions",
            "v1/Responses/",
            "chat/completion%73",
            "openai/deployments/d/embeddings",
            "v1/messages",
            "models/gemini-3:generateContent",
            "images/edits",
        ] {
            let uri = Uri::try_from(format!("/passthrough/openai/{path}")).unwrap();
            let refused = PassthroughCall::read(&Method::POST, &uri).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidRequest, "{path}");
        }
        for path in ["fine_tuning/jobs", "vector_stores", "uploads"] {
            let uri = Uri::try_from(format!("/passthrough/openai/{path}")).unwrap();
            assert!(PassthroughCall::read(&Method::POST, &uri).is_ok(), "{path}");
        }
        let connect = PassthroughCall::read(&Method::OPTIONS, &Uri::from_static("/passthrough/openai/a"));
        assert_eq!(connect.unwrap_err().kind, ErrorKind::MethodNotAllowed);
    }
}
