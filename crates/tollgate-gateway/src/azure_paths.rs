//! Azure's spelling of OpenAI's paths: `/openai/deployments/{model}/chat/completions?api-version=…` and
//! `/openai/v1/…`. Clients of Azure name the model in the path, whatever the body says.

use http::Uri;
use http::uri::PathAndQuery;

use crate::edge::percent_decoded;

const DEPLOYMENTS: &str = "/openai/deployments/";
const PREFIX: &str = "/openai/v1/";

/// Writes such a path as OpenAI does; answers the model that stood in it.
pub(crate) fn rewrite(uri: &mut Uri) -> Option<String> {
    let path = uri.path();
    if !path.starts_with("/openai/") {
        return None;
    }
    let (plain, model) = if let Some(rest) = path.strip_prefix(DEPLOYMENTS) {
        let (model, call) = rest.split_once('/').filter(|(model, _)| !model.is_empty())?;
        (format!("/v1/{call}"), Some(percent_decoded(model)))
    } else {
        (format!("/v1/{}", path.strip_prefix(PREFIX)?), None)
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{plain}{query}")).ok()?);
    *uri = Uri::from_parts(parts).ok()?;
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_paths_become_plain_ones() {
        for (path, expected, model) in [
            (
                "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
                "/v1/chat/completions?api-version=2024-10-21",
                Some("gpt"),
            ),
            ("/openai/deployments/openai%2Fgpt-5/embeddings", "/v1/embeddings", Some("openai/gpt-5")),
            ("/openai/v1/responses?x=1", "/v1/responses?x=1", None),
            ("/openai/deployments//chat/completions", "/openai/deployments//chat/completions", None),
            ("/openai/deployments/gpt", "/openai/deployments/gpt", None),
            ("/openai/other", "/openai/other", None),
            ("/v1/chat/completions", "/v1/chat/completions", None),
        ] {
            let mut uri = Uri::try_from(path).unwrap();
            assert_eq!(rewrite(&mut uri).as_deref(), model, "{path}");
            assert_eq!(uri.to_string(), expected, "{path}");
        }
        let mut absolute = Uri::from_static("http://gateway:8080/openai/v1/models");
        assert_eq!(rewrite(&mut absolute), None);
        assert_eq!(absolute.to_string(), "http://gateway:8080/v1/models");
    }
}
