//! `JUnit` XML, which CI systems show.

use std::fmt::Write as _;

/// One test case.
#[derive(Debug)]
pub(crate) struct TestCase<'a> {
    pub(crate) name: String,
    pub(crate) failures: Vec<Failure<'a>>,
    /// The reason why nothing was tested. Ignored if there are failures.
    pub(crate) skipped: Option<&'a str>,
    /// Lines of output that are not failures.
    pub(crate) output: Vec<&'a str>,
}

/// One failure of a test case.
#[derive(Debug)]
pub(crate) struct Failure<'a> {
    pub(crate) kind: String,
    pub(crate) message: &'a str,
}

impl TestCase<'_> {
    fn is_skipped(&self) -> bool {
        self.skipped.is_some() && self.failures.is_empty()
    }
}

/// Renders a suite. `class` is the class name of its cases.
pub(crate) fn render(suite: &str, class: &str, cases: &[TestCase<'_>]) -> String {
    let failed = cases
        .iter()
        .filter(|case| !case.failures.is_empty())
        .count();
    let skipped = cases.iter().filter(|case| case.is_skipped()).count();
    let tests = cases.len();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string does not fail.
    let _ = writeln!(
        xml,
        "<testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" skipped=\"{skipped}\">"
    );
    for case in cases {
        let name = &case.name;
        let _ = writeln!(xml, "  <testcase classname=\"{class}\" name=\"{name}\">");
        for Failure { kind, message } in &case.failures {
            let message = escaped_xml(message);
            let _ = writeln!(xml, "    <failure type=\"{kind}\" message=\"{message}\"/>");
        }
        if let Some(why) = case.skipped
            && case.is_skipped()
        {
            let _ = writeln!(xml, "    <skipped message=\"{}\"/>", escaped_xml(why));
        }
        if !case.output.is_empty() {
            let output = escaped_xml(&case.output.join("\n"));
            let _ = writeln!(xml, "    <system-out>{output}</system-out>");
        }
        let _ = writeln!(xml, "  </testcase>");
    }
    xml + "</testsuite>\n"
}

/// Escapes `text` for an attribute or an element. Control characters, most of which XML does not
/// allow, are escaped already.
fn escaped_xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&apos;")
}
