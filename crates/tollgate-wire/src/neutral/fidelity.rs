//! How faithfully a request was carried into another dialect.

use std::fmt;

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// Something a request may ask for that not every dialect has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Feature { $($(#[$doc])* $variant,)* }

        impl Feature {
            /// Every feature.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// The name in messages, in `x-tollgate-dropped` and in the coverage table.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

features! {
    /// Prompts of the operator.
    SystemPrompt = "system_prompt";
    /// Prompts of the operator between turns.
    SystemBetweenTurns = "system_between_turns";
    /// Pictures by address.
    ImageUrl = "image_url";
    /// Pictures in the body.
    ImageInline = "image_inline";
    /// How closely a picture is looked at.
    ImageDetail = "image_detail";
    /// Sounds.
    AudioInput = "audio_input";
    /// Films.
    VideoInput = "video_input";
    /// Documents.
    FileInput = "file_input";
    /// Files uploaded before.
    FileId = "file_id";
    /// Functions.
    Tools = "tools";
    /// Functions whose arguments follow their schema exactly.
    StrictTools = "strict_tools";
    /// Tools with free text.
    CustomTools = "custom_tools";
    /// Tools that the vendor runs.
    VendorTools = "vendor_tools";
    /// Whether and which tools.
    ToolChoice = "tool_choice";
    /// Several calls at once, or not.
    ParallelToolCalls = "parallel_tool_calls";
    /// Pictures in a tool's answer.
    ToolResultMedia = "tool_result_media";
    /// That a tool failed.
    FailedToolResult = "tool_result_error";
    /// Refusals of earlier turns.
    Refusals = "refusals";
    /// Any JSON object.
    JsonObject = "json_object";
    /// JSON of a schema.
    JsonSchema = "json_schema";
    /// Texts that end the answer.
    Stop = "stop";
    /// Flattening of the distribution.
    Temperature = "temperature";
    /// Nucleus.
    TopP = "top_p";
    /// Most likely tokens considered.
    TopK = "top_k";
    /// Penalties by frequency and presence.
    Penalties = "penalties";
    /// Answers that can be repeated.
    Seed = "seed";
    /// Several answers.
    N = "n";
    /// Log probabilities.
    Logprobs = "logprobs";
    /// Bias per token.
    LogitBias = "logit_bias";
    /// How hard to think.
    ReasoningEffort = "reasoning_effort";
    /// Reasoning of earlier turns with its signatures.
    ThinkingBlocks = "thinking_blocks";
    /// Marks for the prompt cache.
    CacheControl = "cache_control";
    /// Citations.
    Citations = "citations";
    /// Audio in the answer.
    AudioOutput = "audio_output";
    /// Pictures in the answer.
    ImageOutput = "image_output";
    /// How long answers are to be.
    Verbosity = "verbosity";
    /// Marks of the client.
    Metadata = "metadata";
    /// The tier of service.
    ServiceTier = "service_tier";
    /// Speakers' names.
    Names = "names";
    /// Who uses the application.
    EndUser = "user";
    /// Keeping the answer at the vendor.
    Store = "store";
    /// Content that only the client's dialect knows.
    UnknownContent = "unknown_content";
    /// Members that only the client's dialect knows.
    UnknownMembers = "unknown_members";
}

/// What to do with what the target lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse.
    Refuse,
    /// Leave out what [`Feature::is_droppable`] allows and say so, refuse the rest: the operator set
    /// `drop_unsupported: true`.
    DropHarmless,
    /// Leave it out and say so, whatever it is: for what is never sent.
    Drop,
}

/// What was lost or bent on the way into another dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fidelity {
    mode: Mode,
    dropped: Vec<Feature>,
    approximated: Vec<(Feature, &'static str)>,
}

/// A feature that the target lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The feature.
    pub feature: Feature,
    /// Who lacks it.
    pub target: super::ChatDialect,
    /// What exactly, where the name alone does not say it (`a tool of type web_search`).
    pub what: Option<String>,
}

// === impl Fidelity ===

impl Fidelity {
    /// Nothing lost so far.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        Self { mode, dropped: Vec::new(), approximated: Vec::new() }
    }

    /// The target lacks it.
    ///
    /// # Errors
    /// Nothing may be dropped.
    pub fn lacks(&mut self, target: super::ChatDialect, feature: Feature) -> Result<(), Unsupported> {
        self.lacks_named(target, feature, None)
    }

    fn may_drop(&self, feature: Feature) -> bool {
        match self.mode {
            Mode::Refuse => false,
            Mode::DropHarmless => feature.is_droppable(),
            Mode::Drop => true,
        }
    }

    /// The target lacks it; `what` says what exactly.
    ///
    /// # Errors
    /// Nothing may be dropped.
    pub fn lacks_named(
        &mut self,
        target: super::ChatDialect,
        feature: Feature,
        what: Option<String>,
    ) -> Result<(), Unsupported> {
        if !self.may_drop(feature) {
            return Err(Unsupported { feature, target, what });
        }
        if !self.dropped.contains(&feature) {
            self.dropped.push(feature);
        }
        Ok(())
    }

    /// Of what is asked for, what `target` lacks.
    ///
    /// # Errors
    /// As [`Self::lacks`].
    pub(crate) fn lacks_asked(
        &mut self,
        target: super::ChatDialect,
        mut asked: impl Iterator<Item = Feature>,
        lacking: &[Feature],
    ) -> Result<(), Unsupported> {
        asked.try_for_each(
            |feature| {
                if lacking.contains(&feature) { self.lacks(target, feature) } else { Ok(()) }
            },
        )
    }

    /// The target cannot forbid several calls at once. Where only one tool can be called that is near enough:
    /// it is how clients ask for an object, and they take the first.
    ///
    /// # Errors
    /// Several tools may be called, and nothing may be dropped.
    pub fn cannot_forbid_parallel_calls(
        &mut self,
        target: super::ChatDialect,
        request: &super::ChatRequest,
    ) -> Result<(), Unsupported> {
        let only_one = match request.tool_choice {
            Some(super::ToolChoice::Named(_)) => true,
            Some(super::ToolChoice::Required) => request.tools.len() == 1,
            _ => false,
        };
        if only_one {
            self.approximates(Feature::ParallelToolCalls, "one tool is asked for, maybe more than once");
            return Ok(());
        }
        self.lacks(target, Feature::ParallelToolCalls)
    }

    /// It is carried by something that comes near.
    pub fn approximates(&mut self, feature: Feature, how: &'static str) {
        if !self.approximated.iter().any(|(known, _)| *known == feature) {
            self.approximated.push((feature, how));
        }
    }

    /// What was left out, for `x-tollgate-dropped`.
    #[must_use]
    pub fn dropped(&self) -> &[Feature] {
        &self.dropped
    }

    /// What comes near, and how.
    #[must_use]
    pub fn approximated(&self) -> &[(Feature, &'static str)] {
        &self.approximated
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.as_deref().unwrap_or_else(|| self.feature.name());
        write!(f, "{what} is not supported by {}: leave it out, or use another model", self.target.name())
    }
}

impl std::error::Error for Unsupported {}
