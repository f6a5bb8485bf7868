//! Reading a script's answer: a list of integers.

use redis::Value;
use tollgate_domain::NanoUsd;

use crate::error::LedgerError;

/// The values of an answer, read from the front; mostly integers.
pub(super) struct Integers<'a> {
    values: &'a [Value],
}

impl<'a> Integers<'a> {
    pub(super) fn new(answer: &'a Value) -> Result<Self, LedgerError> {
        match answer {
            Value::Array(values) => Ok(Self { values }),
            Value::Int(_) | Value::BulkString(_) => Ok(Self { values: std::slice::from_ref(answer) }),
            _ => Err(unexpected(answer)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn next(&mut self) -> Result<i64, LedgerError> {
        match self.values.split_first() {
            Some((Value::Int(integer), rest)) => {
                self.values = rest;
                Ok(*integer)
            }
            Some((other, _)) => Err(unexpected(other)),
            None => Err(LedgerError::Protocol("a script's answer is too short".to_owned())),
        }
    }

    pub(super) fn next_bytes(&mut self) -> Result<&'a [u8], LedgerError> {
        match self.values.split_first() {
            Some((Value::BulkString(bytes), rest)) => {
                self.values = rest;
                Ok(bytes)
            }
            Some((other, _)) => Err(unexpected(other)),
            None => Err(LedgerError::Protocol("a script's answer is too short".to_owned())),
        }
    }

    pub(super) fn next_text(&mut self) -> Result<&'a str, LedgerError> {
        std::str::from_utf8(self.next_bytes()?)
            .map_err(|_| LedgerError::Protocol("a script answered with bytes for text".to_owned()))
    }

    /// Text that is something else.
    pub(super) fn next_parsed<T: std::str::FromStr>(&mut self) -> Result<T, LedgerError> {
        let text = self.next_text()?;
        text.parse().map_err(|_| LedgerError::Protocol(format!("a script answered `{text}`")))
    }

    pub(super) fn next_amount(&mut self) -> Result<NanoUsd, LedgerError> {
        self.next().map(NanoUsd)
    }

    pub(super) fn next_unsigned(&mut self) -> Result<u64, LedgerError> {
        let integer = self.next()?;
        u64::try_from(integer)
            .map_err(|_| LedgerError::Protocol(format!("a script answered {integer} for a count")))
    }

    /// As an index into something of the caller's.
    pub(super) fn next_index(&mut self) -> Result<usize, LedgerError> {
        let integer = self.next_unsigned()?;
        usize::try_from(integer).map_err(|_| LedgerError::Protocol("an index is too large".to_owned()))
    }
}

pub(super) fn unexpected(answer: &Value) -> LedgerError {
    let kind = match answer {
        Value::Nil => "nothing",
        Value::Int(_) => "an integer",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a string",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    LedgerError::Protocol(format!("a script answered with {kind} where something else was expected"))
}
