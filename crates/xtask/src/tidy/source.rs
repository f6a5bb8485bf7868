//! A Rust file as the rules see it: the text with comments and literals blanked out, and which of its
//! lines are tests. Not a parser: it knows comments, literals and brackets, which is all the rules need.

/// One Rust file. `lines` and `code_lines` have the same length: line `n` is at index `n - 1` of both.
pub(crate) struct Source {
    /// The path from the workspace root, with `/`.
    pub(crate) path: String,
    /// The lines as they are.
    pub(crate) lines: Vec<String>,
    /// The lines with every comment and the inside of every literal replaced by spaces.
    pub(crate) code_lines: Vec<String>,
    /// For each line, whether it is inside an item under `#[cfg(test)]`.
    pub(crate) is_test_line: Vec<bool>,
    /// Every function with a body, in the order of the file.
    pub(crate) functions: Vec<Function>,
}

/// A function with a body; both lines count from 1 and belong to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first_line: usize,
    pub(crate) last_line: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank_comments_and_literals(text);
        let characters: Vec<char> = code.chars().collect();
        Self {
            path: path.to_owned(),
            lines: text.split('\n').map(str::to_owned).collect(),
            code_lines: code.split('\n').map(str::to_owned).collect(),
            is_test_line: test_lines(&code, &characters),
            functions: functions(&characters),
        }
    }

    /// How many lines an editor shows: a final newline opens no further line.
    pub(crate) fn n_lines(&self) -> usize {
        let ends_with_newline = self.lines.last().is_some_and(String::is_empty);
        self.lines.len() - usize::from(ends_with_newline)
    }
}

/// The text with the same characters per line, where comments and the inside of literals are spaces.
fn blank_comments_and_literals(text: &str) -> String {
    let input: Vec<char> = text.chars().collect();
    let mut output = input.clone();
    let mut at = 0;
    while at < input.len() {
        let end = match input[at] {
            '/' if input.get(at + 1) == Some(&'/') => end_of_line(&input, at),
            '/' if input.get(at + 1) == Some(&'*') => end_of_block_comment(&input, at),
            '"' => end_of_string(&input, at),
            '\'' => end_of_character(&input, at),
            _ => at + 1,
        };
        if end > at + 1 {
            for character in &mut output[at..end] {
                if *character != '\n' {
                    *character = ' ';
                }
            }
        }
        at = end;
    }
    output.into_iter().collect()
}

fn end_of_line(input: &[char], start: usize) -> usize {
    (start..input.len()).find(|&at| input[at] == '\n').unwrap_or(input.len())
}

fn end_of_block_comment(input: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at + 1 < input.len() {
        match (input[at], input[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    input.len()
}

/// The end of the string that opens with the quote at `start`: raw when an `r` and hashes stand before it.
fn end_of_string(input: &[char], start: usize) -> usize {
    let n_hashes = input[..start].iter().rev().take_while(|&&character| character == '#').count();
    let before_hashes = &input[..start - n_hashes];
    if is_raw_prefix(before_hashes) {
        let closes = |at: usize| input[at] == '"' && input[at + 1..].iter().take(n_hashes).all(|&c| c == '#');
        let close = (start + 1..input.len().saturating_sub(n_hashes)).find(|&at| closes(at));
        return close.map_or(input.len(), |at| at + 1 + n_hashes);
    }
    let mut at = start + 1;
    while at < input.len() {
        match input[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    input.len()
}

/// Whether the text ends in the prefix of a raw string: `r`, `br` or `cr`, and not in a longer word.
fn is_raw_prefix(before: &[char]) -> bool {
    let Some((&'r', rest)) = before.split_last() else { return false };
    let rest = match rest.split_last() {
        Some((&('b' | 'c'), rest)) => rest,
        _ => rest,
    };
    !rest.last().is_some_and(|&character| is_word(character))
}

/// The end of a character literal; for the quote of a lifetime or label, just the next character.
fn end_of_character(input: &[char], start: usize) -> usize {
    if input.get(start + 1) == Some(&'\\') {
        let close = (start + 3..input.len()).find(|&at| input[at] == '\'');
        return close.map_or(input.len(), |at| at + 1);
    }
    if input.get(start + 2) == Some(&'\'') { start + 3 } else { start + 1 }
}

pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// For each line, whether it belongs to an item under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn test_lines(code: &str, characters: &[char]) -> Vec<bool> {
    let mut is_test = vec![false; code.split('\n').count()];
    for mark in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (byte, _) in code.match_indices(mark) {
            let start = code[..byte].chars().count();
            let attribute_end = closing_bracket(characters, start + 1).unwrap_or(start);
            let Some((_, end)) = body_after(characters, attribute_end + 1) else { continue };
            for line in line_of(characters, start)..=line_of(characters, end) {
                is_test[line - 1] = true;
            }
        }
    }
    is_test
}

fn functions(characters: &[char]) -> Vec<Function> {
    let mut functions = Vec::new();
    for start in 0..characters.len().saturating_sub(3) {
        let is_keyword = characters[start..].starts_with(&['f', 'n', ' '])
            && !start.checked_sub(1).is_some_and(|before| is_word(characters[before]));
        if !is_keyword {
            continue;
        }
        let name: String = characters[start + 3..].iter().take_while(|&&c| is_word(c) || c == '#').collect();
        // `fn (u8)` in a type has no name, a method of a trait has no body.
        if let (false, Some((open, close))) = (name.is_empty(), body_after(characters, start))
            && characters[open] == '{'
        {
            let (first_line, last_line) = (line_of(characters, start), line_of(characters, close));
            functions.push(Function { name, first_line, last_line });
        }
    }
    functions
}

/// The item's body that starts after `from`: its braces, or twice the semicolon of an item without one.
fn body_after(characters: &[char], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while at < characters.len() {
        match characters[at] {
            '(' | '[' => at = closing_bracket(characters, at)?,
            '{' => return closing_bracket(characters, at).map(|close| (at, close)),
            ';' => return Some((at, at)),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the bracket at `open` is closed.
fn closing_bracket(characters: &[char], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, character) in characters.iter().enumerate().skip(open) {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn line_of(characters: &[char], at: usize) -> usize {
    1 + characters[..at].iter().filter(|&&character| character == '\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_spaces() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y") + 1"#, "f(      ) + 1"),
            (r###"f(r#"x"y"#) + 1"###, "f(r#      ) + 1"),
            (r#"f(br"\") + 1"#, "f(br   ) + 1"),
            (r#"for"x""#, "for   "),
            ("'x' 'y", "    'y"),
            (r"'\'' + b'{'", "     + b   "),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("\"a\nb\" c", "  \n   c"),
        ];
        for (source, expected) in cases {
            assert_eq!(blank_comments_and_literals(source), expected, "{source}");
        }
    }

    #[test]
    fn functions_have_the_lines_of_their_signature_and_body() {
        let source = "fn a(x: [u8; 2]) -> u8 {\n    // }\n    x[0]\n}\ntrait T {\n    fn b();\n}\n\
                      type F = fn (u8);\nasync fn c(\n) {\n}\n";
        let function =
            |name: &str, first_line, last_line| Function { name: name.to_owned(), first_line, last_line };
        assert_eq!(Source::new("a.rs", source).functions, [function("a", 1, 4), function("c", 9, 11)]);
    }

    #[test]
    fn test_lines_are_those_of_the_item_under_the_attribute() {
        let source = Source::new(
            "a.rs",
            "fn a() {}\n#[cfg(test)]\nuse x;\nfn b() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n}\nfn c() {}\n",
        );
        let tests: Vec<usize> =
            (1..).zip(&source.is_test_line).filter(|(_, is)| **is).map(|(n, _)| n).collect();
        assert_eq!(tests, [2, 3, 5, 6, 7, 8]);
    }

    #[test]
    fn a_final_newline_is_not_a_line() {
        assert_eq!(Source::new("a.rs", "a\nb\n").n_lines(), 2);
        assert_eq!(Source::new("a.rs", "a\nb").n_lines(), 2);
    }
}
