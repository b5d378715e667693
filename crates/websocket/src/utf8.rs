//! Checks UTF-8 that arrives in pieces (RFC 3629).

use std::str::from_utf8;

/// A check that goes on where the last piece ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Utf8 {
    /// The beginning of a character whose end has not been received.
    begun: [u8; 4],
    length: usize,
}

/// The error of text that is not UTF-8, and cannot become so by further bytes.
#[derive(Debug)]
pub(crate) struct Invalid;

impl Utf8 {
    pub(crate) fn push(&mut self, mut text: &[u8]) -> Result<(), Invalid> {
        while self.length > 0 {
            let Some((&first, rest)) = text.split_first() else {
                return Ok(());
            };
            text = rest;
            self.begun[self.length] = first;
            self.length += 1;
            match from_utf8(&self.begun[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(Invalid),
            }
        }
        match from_utf8(text) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let begun = &text[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.length = begun.len();
                Ok(())
            }
            Err(_) => Err(Invalid),
        }
    }

    /// Ends the text, which must not end within a character; the next piece begins another text.
    pub(crate) fn finish(&mut self) -> Result<(), Invalid> {
        let whole = self.length == 0;
        self.length = 0;
        if whole { Ok(()) } else { Err(Invalid) }
    }
}
