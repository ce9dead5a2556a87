// SPDX-License-Identifier: GPL-2.0-only

//! The report of a job: what it wrote to standard output, in sections.
//!
//! The guest's side of this is `guest/init` and `guest/report.sh`.

/// One line of a report.
#[derive(Debug, Eq, PartialEq)]
pub enum Line<'a> {
    /// The guest is up and the job starts.
    Begin,
    /// The job ended, with this exit status.
    End(i32),
    /// A section of this name starts.
    Section(&'a str),
    /// The command of the section ended, with this exit status.
    Status(i32),
    /// Anything else.
    Text(&'a str),
}

impl<'a> Line<'a> {
    /// Tells the lines that give a report its shape from what the job's programs wrote.
    pub fn of(line: &'a str) -> Self {
        let number = |prefix| line.strip_prefix(prefix)?.trim().parse().ok();
        if line == "@begin" {
            Line::Begin
        } else if let Some(status) = number("@end ") {
            Line::End(status)
        } else if let Some(status) = number("@status ") {
            Line::Status(status)
        } else if let Some(name) = line.strip_prefix("@section ") {
            Line::Section(name.trim())
        } else {
            Line::Text(line)
        }
    }
}

/// What one command of a job wrote, and how it ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Section {
    /// The name the job gave it.
    pub name: String,
    /// The lines of its standard output.
    pub lines: Vec<String>,
    /// Its exit status; none when the machine was lost before it ended.
    pub status: Option<i32>,
}

#[cfg(test)]
impl Section {
    /// One that has ended with `status`.
    pub fn ended(name: &str, lines: &[&str], status: i32) -> Self {
        Self {
            name: name.to_owned(),
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
            status: Some(status),
        }
    }
}

/// Puts sections together from lines as they arrive.
#[derive(Default)]
pub struct Sections {
    open: Option<Section>,
}

impl Sections {
    /// Takes one line; returns a section when the line completes it.
    ///
    /// Text outside of any section is dropped.
    pub fn line(&mut self, line: &str) -> Option<Section> {
        match Line::of(line) {
            Line::Section(name) => {
                let section = Section {
                    name: name.to_owned(),
                    ..Section::default()
                };
                self.open.replace(section)
            }
            Line::Status(status) => self.open.take().map(|section| Section {
                status: Some(status),
                ..section
            }),
            Line::Text(text) => {
                if let Some(section) = &mut self.open {
                    section.lines.push(text.to_owned());
                }
                None
            }
            Line::Begin | Line::End(_) => None,
        }
    }

    /// The section that was still open when the report ended.
    pub fn interrupted(self) -> Option<Section> {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_control_lines_count() {
        assert_eq!(Line::of("@begin"), Line::Begin);
        assert_eq!(Line::of("@end 3"), Line::End(3));
        assert_eq!(Line::of("@end of story"), Line::Text("@end of story"));
        assert_eq!(Line::of(" @begin"), Line::Text(" @begin"));
        assert_eq!(Line::of("@section a b"), Line::Section("a b"));
    }

    #[test]
    fn a_section_completes_with_its_status() {
        let mut sections = Sections::default();
        assert_eq!(sections.line("before"), None);
        assert_eq!(sections.line("@section one"), None);
        assert_eq!(sections.line("text"), None);
        let section = sections.line("@status 7").unwrap();
        assert_eq!(section.name, "one");
        assert_eq!(section.lines, ["text"]);
        assert_eq!(section.status, Some(7));
        assert_eq!(sections.interrupted(), None);
    }

    #[test]
    fn a_section_without_a_status_is_interrupted() {
        let mut sections = Sections::default();
        sections.line("@section one");
        let first = sections.line("@section two").unwrap();
        assert_eq!((first.name.as_str(), first.status), ("one", None));
        assert_eq!(sections.interrupted().unwrap().name, "two");
    }
}
