//! Clients of OpenAI's Responses at providers that speak it themselves: their requests pass, what the provider keeps is
//! named by sealed ids, and what goes on in the background stays held for until its end is seen.

use std::sync::Arc;

use bytes::Bytes;
use tollgate_domain::{AttemptOutcome, ErrorKind, NanoUsd, Surface};
use tollgate_policy::{Candidate, ResponsesService, Snapshot};
use tollgate_wire::json::{Node, ReadError};
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::error::read_provider_error;
use tollgate_wire::openai::request::RequestSkim;
use tollgate_wire::openai::responses::{NameOf, NativeEdits, NativeFacts, ResponseNames, pass_request};

use crate::attempt::{Failed, told_usage};
use crate::auth::Authenticated;
use crate::dialects::{self, Client};
use crate::error::Refusal;
use crate::kept_files;
use crate::objects::ids::{BatchClaim, Kind, ObjectId, Owner};
use crate::pipeline::Priced;
use crate::plan::PricedCandidate;
use crate::settle::Reservation;

/// What a tool of a grammar counts beside its bytes, in tools with a schema: there is no schema whose values would count.
const TOOLS_PER_CUSTOM_TOOL: u64 = 2;
/// What the status of a response is once nothing more comes.
const ENDS: [&str; 4] = ["completed", "failed", "incomplete", "cancelled"];

/// A conversation made shorter: `POST` to this.
pub(crate) const COMPACT_PATH: &str = "/v1/responses/compact";
/// What a prompt counts: `POST` to this.
pub(crate) const INPUT_TOKENS_PATH: &str = "/v1/responses/input_tokens";

/// What a client of Responses asks for beside what every dialect has words for.
#[derive(Debug)]
pub(crate) struct AskedResponse {
    facts: NativeFacts,
    /// The kept response that it continues.
    previous: Option<ObjectId>,
    /// Whether a conversation is to be made shorter instead of continued.
    is_compaction: bool,
}

/// Whether a candidate is asked in Responses by a client of that dialect.
pub(crate) fn is_spoken(client: ChatDialect, candidate: &Candidate) -> bool {
    let is_asked = client == ChatDialect::OpenAiResponses || candidate.responses.is_only;
    is_asked && candidate.responses.is_native()
}

impl AskedResponse {
    /// `None` for other dialects.
    pub(crate) fn read(dialect: ChatDialect, path: &str, body: &[u8]) -> Result<Option<Self>, ReadError> {
        if dialect != ChatDialect::OpenAiResponses {
            return Ok(None);
        }
        let is_compaction = path.trim_end_matches('/') == COMPACT_PATH;
        Ok(Some(Self { facts: NativeFacts::read(body)?, previous: None, is_compaction }))
    }

    /// What costs something though the same request as Chat Completions does not show it.
    pub(crate) fn note(&self, skim: &mut RequestSkim) {
        skim.has_provider_tools |= self.facts.has_billed_tools;
        skim.has_unbounded_parts |= self.facts.has_unseen_parts;
        skim.n_tools += self.facts.n_custom_tools * TOOLS_PER_CUSTOM_TOOL;
        // templates may bring tools that are billed, compaction is another model's work
        let billed =
            [(self.facts.has_prompt_template, "prompt"), (self.facts.has_compaction, "context_management")];
        skim.foreign_members
            .extend(billed.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name));
    }

    /// The client's body as the provider takes it.
    pub(crate) fn body_for(
        &self,
        body: &[u8],
        candidate: &Candidate,
        output_cap: Option<u64>,
    ) -> Result<Bytes, ReadError> {
        let is_stateless = candidate.responses.service == ResponsesService::Stateless;
        let edits = NativeEdits {
            model: &candidate.model,
            // nobody can say how long a compacted conversation may be
            output_cap: output_cap.filter(|_| !self.is_compaction),
            previous_response_id: self.previous.as_ref().map(|kept| kept.upstream.as_str()),
            forbid_store: is_stateless && !self.is_compaction && self.facts.store == Some(true),
        };
        pass_request(body, &edits)
    }
}

fn asked(client: &Client) -> Option<&AskedResponse> {
    client.foreign.as_ref()?.responses.as_ref()
}

/// Reads a request of any dialect; what one of Responses names of things that are kept is its caller's, or there is none.
pub(crate) fn read(
    dialect: ChatDialect,
    path: &str,
    body: Bytes,
    caller: &Authenticated,
) -> Result<(Client, Bytes), Refusal> {
    let opened = match dialect {
        ChatDialect::OpenAiResponses => kept_files::open(dialect, &body, caller)?,
        _ => None,
    };
    let (body, files) = opened.map_or((body, None), |opened| (opened.body, Some(opened.kept)));
    let (mut client, as_chat) = dialects::read(dialect, path, body)?;
    client.files = files;
    open(&mut client, caller)?;
    Ok((client, as_chat))
}

/// Finds the kept response that a request continues.
fn open(client: &mut Client, caller: &Authenticated) -> Result<(), Refusal> {
    let Some(asked) = client.foreign.as_mut().and_then(Arc::get_mut).and_then(|one| one.responses.as_mut())
    else {
        return Ok(());
    };
    let Some(name) = &asked.facts.previous_response_id else { return Ok(()) };
    let kept = Owner::new(&caller.snapshot, &caller.context).open(Kind::Response, name);
    asked.previous = Some(kept.filter(|kept| ObjectId::is_plain(&kept.upstream)).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        let message = format!(
            "there is no kept response `{}`: send the whole conversation in `input` instead",
            shown.escape_debug()
        );
        Refusal::new(ErrorKind::NotFound, message).with_param("previous_response_id")
    })?);
    let is_elsewhere = |files: &ObjectId| {
        asked.previous.as_ref().is_some_and(|previous| !kept_files::is_same_place(previous, files))
    };
    if client.files.as_deref().is_some_and(is_elsewhere) {
        let message = "the files and the response to continue are kept in different places: upload the files where the response is kept";
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("previous_response_id"));
    }
    Ok(())
}

/// Where the kept response is that a request continues, or the files that it names: only there it can be asked.
pub(crate) fn pinned(client: &Client) -> Option<&ObjectId> {
    previous(client).or(client.files.as_deref())
}

fn previous(client: &Client) -> Option<&ObjectId> {
    asked(client)?.previous.as_ref()
}

/// Prompt tokens that the response brings which a request continues, as far as they are known: they are billed, and stand
/// nowhere in the request.
pub(crate) fn kept_tokens(client: &Client) -> u64 {
    previous(client).and_then(|kept| kept.context_tokens).unwrap_or(0)
}

/// Whether it continues what was made in the background.
pub(crate) fn continues_background(client: &Client) -> bool {
    pinned(client).is_some_and(|kept| kept.batch.is_some())
}

/// The member that says where a request must go.
fn pinning_member(client: &Client, surface: Surface) -> &'static str {
    match (previous(client), client.dialect) {
        (Some(_), _) => "previous_response_id",
        (None, _) if surface == Surface::ImageEdits => "images",
        (None, ChatDialect::OpenAiChat) => "messages",
        (None, _) => "input",
    }
}

/// Whether a conversation is to be made shorter instead of continued.
pub(crate) fn is_compaction(client: &Client) -> bool {
    asked(client).is_some_and(|asked| asked.is_compaction)
}

/// Where a provider is asked for it, below its base URL.
pub(crate) fn path(client: &Client) -> &'static str {
    if is_compaction(client) { "/responses/compact" } else { "/responses" }
}

/// Whether all that it can cost is held at once: what goes on without its client, and what takes no cap.
pub(crate) fn is_held_as_a_whole(client: &Client) -> bool {
    is_background(client) || is_compaction(client)
}

/// Whether it is answered before it is done.
pub(crate) fn is_background(client: &Client) -> bool {
    asked(client).is_some_and(|asked| asked.facts.background)
}

/// None of the requested model's candidates is where the continued response is kept.
pub(crate) fn elsewhere(snapshot: &Snapshot, client: &Client, model: &str, surface: Surface) -> Refusal {
    let kept = pinned(client).map(|kept| kept.provider);
    let provider = snapshot.providers().find(|provider| Some(provider.id) == kept);
    let (what, instead) = match previous(client) {
        Some(_) => ("response to continue is", "send the whole conversation in `input`"),
        None => ("files are", "send their data"),
    };
    let message = match provider {
        Some(provider) => format!(
            "the {what} kept by the provider `{}`, where the model `{}` does not lead: name one of its models, or {instead}",
            provider.name,
            model.escape_debug()
        ),
        None => format!("the {what} kept by a provider that is no longer configured: {instead}"),
    };
    Refusal::new(ErrorKind::InvalidRequest, message).with_param(pinning_member(client, surface))
}

/// Refuses a candidate that cannot keep, continue or finish a response as it is asked to.
pub(crate) fn check(client: &Client, candidate: &Candidate) -> Result<(), Refusal> {
    let Some(asked) = asked(client) else { return Ok(()) };
    let (facts, name) = (&asked.facts, &candidate.provider.name);
    let refuse = |param: &str, message: String| {
        Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param(param))
    };
    if facts.has_conversation {
        let message = "conversations belong to the provider's account: continue with `previous_response_id`, or send the whole conversation in `input`";
        return refuse("conversation", message.to_owned());
    }
    let keeps = candidate.responses.service == ResponsesService::Stored;
    if facts.previous_response_id.is_some() && !keeps {
        let message = format!(
            "the provider `{name}` keeps no responses: send the whole conversation in `input` instead of `previous_response_id`"
        );
        return refuse("previous_response_id", message);
    }
    if asked.is_compaction && !keeps {
        let message = format!(
            "the provider `{name}` compacts no conversations: name a model of one that keeps responses, or shorten `input` yourself"
        );
        return refuse("model", message);
    }
    if asked.is_compaction
        && (facts.background || client.foreign.as_ref().is_some_and(|one| one.incoming.request.stream))
    {
        let message = "a compacted conversation comes whole: leave `stream` and `background` out";
        return refuse("stream", message.to_owned());
    }
    if !facts.background {
        return Ok(());
    }
    if !keeps {
        let message =
            format!("the provider `{name}` answers nothing in the background: leave `background` out");
        return refuse("background", message);
    }
    if facts.store == Some(false) {
        return refuse(
            "background",
            "`background` needs `store`: what is not kept cannot be asked for".to_owned(),
        );
    }
    Ok(())
}

/// Refuses a line of a batch that its provider could not read: the file goes there as it is.
pub(crate) fn check_line(client: &Client, candidate: &Candidate) -> Result<(), Refusal> {
    let refuse = |message: &str| Err(Refusal::new(ErrorKind::InvalidRequest, message));
    if !dialects::is_same(client, candidate) {
        let (name, model) = (&candidate.provider.name, &candidate.model);
        let other = match client.dialect {
            ChatDialect::OpenAiResponses => "/v1/chat/completions",
            _ => "/v1/responses",
        };
        return refuse(&format!("the provider `{name}` does not serve {model} like this: use {other}"));
    }
    if client.files.is_some() {
        return refuse("a batch opens no names of files: write their data into the line");
    }
    let Some(asked) = asked(client) else { return Ok(()) };
    if asked.previous.is_some() {
        return refuse("a batch continues no response: write the whole conversation into `body.input`");
    }
    if asked.facts.background {
        return refuse("`body.background` has no meaning in a batch: leave it out");
    }
    Ok(())
}

/// The most that a candidate answers with, where no cap can be sent to it; `None` where one can.
pub(crate) fn fixed_cap(client: &Client, candidate: &Candidate) -> Option<Result<u64, Refusal>> {
    is_compaction(client).then(|| {
        candidate.max_output_tokens.ok_or_else(|| {
            let (provider, model) = (&candidate.provider.name, &candidate.model);
            let message = format!(
                "nobody knows how much {provider}/{model} answers at most, and compaction takes no cap: use another model"
            );
            Refusal::new(ErrorKind::InvalidRequest, message).with_param("model")
        })
    })
}

/// What cannot be bounded, in the words of the request.
pub(crate) fn unbounded(client: &Client, candidate: &Candidate, refusal: Refusal) -> Refusal {
    if previous(client).is_none() {
        return refusal;
    }
    let (provider, model) = (&candidate.provider.name, &candidate.model);
    let message = format!(
        "what `previous_response_id` brings cannot be bounded for {provider}/{model}, whose context nobody knows: send the whole conversation in `input`"
    );
    Refusal::new(ErrorKind::InvalidRequest, message).with_param("previous_response_id")
}

// === answers ===

/// An answer that says by itself that it failed.
pub(crate) fn failure(request: &Priced, priced: &PricedCandidate, body: &[u8]) -> Option<Failed> {
    if dialects::spoken(&request.client, &priced.candidate) != ChatDialect::OpenAiResponses {
        return None;
    }
    let mut members = Node::parse(body).ok()?.object().ok()?;
    if members.string("status").ok().flatten()? != "failed" {
        return None;
    }
    let may_be_billed = members.take("usage").is_some();
    let error = read_provider_error(0, body);
    let message = format!("the provider failed: {}", error.message);
    let failed = Failed::new(AttemptOutcome::ServerError, may_be_billed, ErrorKind::UpstreamError, message);
    Some(failed.telling(told_usage(body)))
}

/// The claim of an answer after which its provider goes on: what is held for it stays held.
pub(crate) fn going_on(reservation: &Reservation, body: &[u8]) -> Option<BatchClaim> {
    claim(reservation).filter(|_| is_under_way(body))
}

/// The claim of a request that is answered in the background.
pub(crate) fn claim(reservation: &Reservation) -> Option<BatchClaim> {
    let request = &reservation.priced;
    let priced = reservation.current().filter(|_| is_background(&request.client))?;
    Some(BatchClaim {
        request: request.request,
        key: request.caller.context.key.id,
        held: if request.plan.is_paid { reservation.grant.granted } else { NanoUsd::ZERO },
        admitted_at: reservation.grant.admitted_at,
        model: priced.candidate.model.to_string(),
        input_tokens: Some(request.plan.input_estimate),
        end_user: request.end_user.clone(),
    })
}

/// Whether a response is still being made; one whose status nobody knows has not ended.
pub(crate) fn is_under_way(body: &[u8]) -> bool {
    let status = Node::parse(body).ok().and_then(|root| root.object().ok()?.string("status").ok()?);
    status.is_some_and(|status| !ENDS.contains(&status.as_str()))
}

/// The provider's id of a response.
pub(crate) fn id_of(body: &[u8]) -> Option<String> {
    Node::parse(body).ok()?.object().ok()?.string("id").ok()?
}

/// How the provider's ids are named for the client of a request; with the claim where it goes on, and with the tokens that
/// what continues it brings with it.
pub(crate) fn names(
    reservation: &Reservation,
    goes_on: Option<&BatchClaim>,
    context_tokens: u64,
) -> ResponseNames {
    let request = &reservation.priced;
    let candidate = reservation.current().map(|priced| &priced.candidate);
    let kept = candidate.filter(|one| one.responses.service == ResponsesService::Stored);
    let like = kept.map(|one| ObjectId {
        provider: one.provider.id,
        credential: reservation.credential(),
        batch: goes_on.cloned(),
        context_tokens: Some(context_tokens),
        upstream: String::new(),
    });
    let previous = asked(&request.client).and_then(|asked| asked.facts.previous_response_id.clone());
    ResponseNames { name_of: sealing(request.caller.clone(), like), previous }
}

/// Seals the provider's ids as `like`; leaves them where nothing is kept.
pub(crate) fn sealing(caller: Authenticated, like: Option<ObjectId>) -> NameOf {
    Box::new(move |id| {
        let like = like.as_ref().filter(|_| ObjectId::is_plain(id))?;
        let owner = Owner::new(&caller.snapshot, &caller.context);
        Some(owner.seal(Kind::Response, &ObjectId { upstream: id.to_owned(), ..like.clone() }))
    })
}

/// The provider's own answer, with our names and the cost in it.
pub(crate) fn passed_answer(
    reservation: &Reservation,
    body: &[u8],
    cost: NanoUsd,
    (goes_on, context_tokens): (Option<&BatchClaim>, u64),
) -> Result<Bytes, Refusal> {
    let renamed = names(reservation, goes_on, context_tokens).rename(body, Some(cost));
    renamed.map(Bytes::from).map_err(|_| unreadable())
}

/// What cannot be given our names is not shown: the provider's would be no names here.
pub(crate) fn unreadable() -> Refusal {
    Refusal::new(
        ErrorKind::UpstreamError,
        "the provider's answer cannot be read: try again, or use another model",
    )
}
