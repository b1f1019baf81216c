//! The source tree as text: its files, its code without comments and literals, functions and types.

use std::fs;
use std::path::Path;

use crate::harness::repository;

/// One file below `src`.
#[derive(Debug)]
pub(super) struct Source {
    /// The path below `src`: `fs/dir.rs`.
    pub(super) name: String,
    pub(super) text: String,
}

/// Every Rust file below `src`, at any depth, sorted by name.
pub(super) fn sources() -> Vec<Source> {
    let root = repository().join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() > 20, "only {} files below src", found.len());
    found
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { name, text });
        }
    }
}

impl Source {
    /// The code, with a blank for every character of a comment or a literal. Lines stay where they
    /// are.
    pub(super) fn code(&self) -> String {
        code(&self.text)
    }

    /// [`Self::code`] without the modules that are compiled for unit tests alone.
    pub(super) fn program(&self) -> String {
        without_tests(self.code())
    }

    /// The lines of the module documentation, without `//!`.
    pub(super) fn documentation(&self) -> Vec<&str> {
        let lines = self.text.lines();
        lines
            .map_while(|line| line.strip_prefix("//!"))
            .map(str::trim)
            .collect()
    }
}

/// See [`Source::code`].
pub(super) fn code(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let word_before = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = comment(rest)
            .or_else(|| literal(rest).filter(|_| !word_before || first == '"' || first == '\''));
        if let Some(length) = length {
            let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
            code.extend(rest[..length].chars().map(blank));
            rest = &rest[length..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// The length of the comment that the text begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.strip_prefix("/*")?;
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest.chars().next()?.len_utf8();
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The length of the string or character literal that the text begins with. A lifetime is none.
fn literal(text: &str) -> Option<usize> {
    let prefix = text
        .find(|c| !matches!(c, 'b' | 'c' | 'r'))
        .filter(|&length| length <= 2)?;
    let body = &text[prefix..];
    if text[..prefix].ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        body[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let content = prefix + hashes + 1;
        return Some(content + text[content..].find(&end)? + end.len());
    }
    let quote = body
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))?;
    let mut characters = body.char_indices().skip(1);
    if quote == '\'' && !body[1..].starts_with('\\') {
        // `'a'` is a character, `'a` a lifetime.
        let (_, character) = characters.next()?;
        let end = 1 + character.len_utf8();
        return body[end..].starts_with('\'').then_some(prefix + end + 1);
    }
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(prefix + at + 1);
        }
    }
    None
}

fn without_tests(mut code: String) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    while let Some(start) = code.find(ATTRIBUTE) {
        let item = start + ATTRIBUTE.len();
        let end = match code[item..].find(['{', ';']).map(|at| item + at) {
            Some(at) if code[at..].starts_with('{') => closing(&code, at),
            Some(at) => at + 1,
            None => code.len(),
        };
        let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
        let blanks: String = code[start..end].chars().map(blank).collect();
        code.replace_range(start..end, &blanks);
    }
    code
}

/// The position after the bracket that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code[open..].char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

/// The position after the `>` that closes the `<` at `open`. The arrow of a closure type is not a
/// bracket.
fn closing_angle(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, character) in code[open..].char_indices() {
        match character {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
        before = character;
    }
    code.len()
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// `self` included.
    pub(super) parameters: usize,
    /// From `fn` to the closing brace.
    pub(super) lines: usize,
}

/// Every function in code from [`code`], nested ones and those of traits included.
pub(super) fn functions(code: &str) -> Vec<Function> {
    words(code, "fn")
        .filter_map(|(start, name, after)| {
            let rest = code[after..].trim_start();
            let mut at = code.len() - rest.len();
            if rest.starts_with('<') {
                at = closing_angle(code, at);
            }
            let open = at + code[at..].find('(')?;
            let close = closing(code, open);
            let body = body(code, close)?;
            Some(Function {
                name,
                parameters: parameters(&code[open + 1..close - 1]),
                lines: code[start..closing(code, body)].lines().count(),
            })
        })
        .collect()
}

/// The position of the brace that opens a function's body, after its parameters.
fn body(code: &str, mut at: usize) -> Option<usize> {
    loop {
        at += code[at..].find(['{', ';', '(', '['])?;
        match code.as_bytes()[at] {
            b'{' => return Some(at),
            b';' => return None,
            _ => at = closing(code, at),
        }
    }
}

/// The number of parameters in a list without its parentheses.
fn parameters(list: &str) -> usize {
    let (mut depth, mut count, mut before, mut content) = (0_usize, 0, ' ', false);
    for character in list.chars() {
        match character {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '>' if before != '-' => depth -= 1,
            ',' if depth == 0 => {
                count += usize::from(content);
                content = false;
            }
            _ => {}
        }
        content |= !character.is_whitespace() && (character != ',' || depth > 0);
        before = character;
    }
    count + usize::from(content)
}

/// The names of all types in code from [`code`]: structures, enumerations, unions and traits
/// anywhere, aliases outside of `impl` blocks and traits.
pub(super) fn types(code: &str) -> Vec<String> {
    let anywhere = ["struct", "enum", "union", "trait"];
    let mut found: Vec<String> = anywhere
        .into_iter()
        .flat_map(|keyword| words(code, keyword))
        .map(|(_, name, _)| name)
        .collect();
    let is_item = |start: usize| {
        let line = code[..start].rfind('\n').map_or(0, |end| end + 1);
        !code[line..].starts_with(' ')
    };
    found.extend(
        words(code, "type")
            .filter(|(start, ..)| is_item(*start))
            .map(|(_, name, _)| name),
    );
    found
}

/// Every place where a keyword stands before a name: its position, the name, and the position after
/// it.
fn words<'a>(code: &'a str, keyword: &'a str) -> impl Iterator<Item = (usize, String, usize)> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(keyword).filter_map(move |(start, _)| {
        let end = start + keyword.len();
        let rest = code[end..].trim_start();
        let after = code.len() - rest.len();
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let apart = !code[..start].ends_with(is_word) && after > end;
        let named = length > 0 && !rest.starts_with(|c: char| c.is_ascii_digit());
        (apart && named).then(|| (start, rest[..length].to_owned(), after + length))
    })
}

#[test]
fn comments_and_literals_are_no_code() {
    for (text, expected) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"}\\\"{\")", "f(      )"),
        ("f('{', '\\'', 'x, 'static)", "f(   ,     , 'x, 'static)"),
        ("r#\"a\"b\"# c", "         c"),
        ("b\"x\" br\"\\\" c\"{\"", "               "),
        ("for_each(|b| b == b'\\n')", "for_each(|b| b ==      )"),
        ("\"a\n}\" b", "  \n   b"),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
}

#[test]
fn code_for_unit_tests_is_left_out() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { {} }\n}\nfn c() {}\n";
    let names: Vec<String> = functions(&without_tests(code(text)))
        .into_iter()
        .map(|function| function.name)
        .collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(
        without_tests("#[cfg(test)]\nmod x;\ny".into()),
        "            \n      \ny"
    );
}

#[test]
fn functions_are_measured_with_their_parameters() {
    let text = "
fn none() {}
pub(crate) const fn one(a: u8,) -> [u8; 2] { [a; 2] }
fn generic<T: Fn(u8, u8) -> u8, const N: usize>(
    t: T,
    pair: (u8, HashMap<u8, u8>),
    f: impl FnOnce(u8) -> Vec<u8>,
) where T: Copy {
    call();
}
trait T {
    fn declared(&self, a: u8);
    fn given(&self, fn_pointer: fn(u8, u8) -> u8) -> u8 {
        let closure = |a, b| a;
    }
}
";
    let found: Vec<(String, usize, usize)> = functions(&code(text))
        .into_iter()
        .map(|found| (found.name, found.parameters, found.lines))
        .collect();
    let expected = [
        ("none", 0, 1),
        ("one", 1, 1),
        ("generic", 3, 7),
        ("given", 2, 3),
    ];
    assert_eq!(found, expected.map(|(name, p, l)| (name.to_owned(), p, l)));
}

#[test]
fn types_are_found_by_name() {
    let text = "
pub(crate) struct A<'a>(&'a str);
enum B { C }
type D = u8;
impl Iterator for A<'_> {
    type Item = u8;
}
trait E {
    type F;
}
fn f() { struct G; let structure = 1; }
";
    let mut found = types(&code(text));
    found.sort();
    assert_eq!(found, ["A", "B", "D", "E", "G"]);
}
