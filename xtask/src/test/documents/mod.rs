// SPDX-License-Identifier: GPL-2.0-only

//! What the documents show: their commands print what is shown of them, the programs in manual
//! pages compile and run, and the pages are free of what mandoc finds.
//!
//! The kernel is that of the KUnit suites, without running them: it has the tracing that a part of
//! the documents is about.

mod page;
mod session;
mod shown;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use super::case::Case;
use super::{kunit, sections, selftests, Bench};
use crate::build::{self, command, has_extension, Flavour};
use crate::vm::report::Section;
use crate::vm::{add_static_programs, Boot, Job};
use session::Command;

/// Where documents are: files, and folders with files and folders.
const PLACES: &[&str] = &[
    "README.md",
    "Documentation",
    "tools/aio/README.md",
    "tools/aio/man",
];

/// What the guest does not have, and why.
const NOT_IN_THE_GUEST: &[(&str, &str)] = &[(
    "bpftrace",
    "with its compiler it is larger than all of the guest: make deb CHECK=1 runs it",
)];

const TIMEOUT: Duration = Duration::from_secs(180);

/// A file for readers.
struct Document {
    /// Its path in the repository.
    path: PathBuf,
    text: String,
}

/// A command of a document.
struct Step<'a> {
    document: &'a Path,
    command: Command,
}

impl Step<'_> {
    /// The name of its section of the report.
    fn section(&self) -> String {
        format!("{}:{}", self.document.display(), self.command.line)
    }

    /// Why it cannot run, where that is known.
    fn why_not(&self) -> Option<&'static str> {
        let program = self.command.text.split(' ').next();
        let missing = NOT_IN_THE_GUEST
            .iter()
            .find(|(name, _)| program == Some(name));
        missing.map(|(_, reason)| *reason)
    }
}

/// Compiles the programs of the documents, and runs their commands in the guest.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    if bench.flavour == Flavour::C {
        let reason = "the documents are about a kernel that polls";
        return Ok(vec![Case::skipped("commands", reason)]);
    }
    let documents = documents(&bench.ws.root)?;
    let steps = documents.iter().flat_map(steps_of).collect::<Vec<_>>();
    let job = Job::of_script(bench.ws, "documents")?;
    job.add_text("sessions", &script(&steps))?;
    for document in documents.iter().filter(|document| document.is_page()) {
        job.add_text(&format!("man/{}", document.name()), &document.text)?;
    }
    bench.preload_programs()?.add_to(&job)?;
    add_static_programs(bench.ws, &bench.host.root, &job)?;
    let mut cases = compile(bench, &documents, &job)?;
    cases.extend(boot(bench, &job, &steps)?);
    Ok(cases)
}

/// Boots the guest for the job.
fn boot(bench: &Bench, job: &Job, steps: &[Step]) -> Result<Vec<Case>> {
    let fragments = [bench.ws.fragments(), vec![kunit::FRAGMENT]].concat();
    let kernel = build::kernel(bench.ws, bench.flavour, &fragments)?;
    let boot = Boot {
        name: "documents",
        kernel: &kernel.image,
        job,
        parameters: "kunit.enable=0",
        timeout: TIMEOUT,
    };
    let cases = sections::boot(&bench.host, &boot, |section| vec![case_of(section, steps)])?;
    let missing = steps
        .iter()
        .map(Step::section)
        .filter(|section| !cases.iter().any(|case| case.name == *section))
        .map(|section| Case::failed(&section, &["it did not run".to_owned()]))
        .collect::<Vec<_>>();
    Ok([cases, missing].concat())
}

/// The documents of the repository at `root`, by their paths.
fn documents(root: &Path) -> Result<Vec<Document>> {
    let mut paths = Vec::new();
    for place in PLACES {
        add_files(&root.join(place), &mut paths)?;
    }
    paths.retain(|path| !has_extension(path, "patch"));
    paths.sort();
    let document = |path: PathBuf| {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.strip_prefix(root)?.to_path_buf();
        Ok(Document { path, text })
    };
    paths.into_iter().map(document).collect()
}

fn add_files(place: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    if !place.is_dir() {
        paths.push(place.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(place)? {
        add_files(&entry?.path(), paths)?;
    }
    Ok(())
}

impl Document {
    /// Whether it is a manual page.
    fn is_page(&self) -> bool {
        let section = self.path.extension().unwrap_or_default();
        section.len() == 1 && section.to_string_lossy().parse::<u8>().is_ok()
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn commands(&self) -> Vec<Command> {
        if self.is_page() {
            session::in_manual_page(&self.text, page::plain)
        } else {
            session::in_indented_blocks(&self.text)
        }
    }
}

fn steps_of(document: &Document) -> Vec<Step<'_>> {
    let step = |command| Step {
        document: &document.path,
        command,
    };
    document.commands().into_iter().map(step).collect()
}

/// Every command as a section of the report, with its standard error in it, and a shell for every
/// document.
fn script(steps: &[Step]) -> String {
    let section = |step: &Step| {
        let command = format!("{{ {}\n}} 2>&1", step.command.text);
        let command = command::quoted(&command);
        format!("section {} eval {command}\n", step.section())
    };
    let shells = steps
        .chunk_by(|one, next| one.document == next.document)
        .map(|steps| steps.iter().map(section).collect::<Vec<_>>().concat());
    shells
        .map(|sections| format!("(\n{sections})\n"))
        .collect::<Vec<_>>()
        .concat()
}

/// Compiles the programs in manual pages against the patched kernel's headers, into the job.
fn compile(bench: &Bench, documents: &[Document], job: &Job) -> Result<Vec<Case>> {
    let folder = bench.ws.build.join("documents");
    fs::create_dir_all(&folder)?;
    let tree = build::staged_tree(bench.ws, Flavour::Rust)?;
    selftests::install_headers(bench, &tree, &folder)?;
    let mut cases = Vec::new();
    for document in documents.iter().filter(|document| document.is_page()) {
        for program in page::programs(&document.text) {
            fs::write(folder.join(&program.name), &program.source)?;
            let name = program.name.trim_end_matches(".c");
            let mut gcc = bench.host.root.command(&[(&folder, "/out")], "/out");
            gcc.args(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]);
            gcc.args(["-isystem", "headers/include", "-o", name, &program.name]);
            let compiled = command::run(&mut gcc);
            if compiled.is_ok() {
                job.add(&folder.join(name), &format!("programs/{name}"))?;
            }
            let faults = compiled.err().map(|error| format!("{error:#}"));
            let name = format!("{}: {}", document.path.display(), program.name);
            cases.push(Case::without_faults(&name, faults.as_slice()));
        }
    }
    if cases.is_empty() {
        bail!("no manual page has a program");
    }
    Ok(cases)
}

/// How a section of the report ended: a command that a document shows, or a check of a page.
fn case_of(section: &Section, steps: &[Step]) -> Case {
    let step = steps.iter().find(|step| step.section() == section.name);
    if let Some(reason) = step.and_then(Step::why_not) {
        return Case::skipped(&section.name, reason);
    }
    let shown = step.map_or(&[][..], |step| &step.command.shown);
    let fault = match section.status {
        None => Some("it did not end".to_owned()),
        Some(status) if shown.is_empty() && status != 0 => {
            Some(format!("it ended with status {status}"))
        }
        Some(_) if shown.is_empty() => None,
        Some(_) => shown::fault(shown, &section.lines),
    };
    match fault {
        None => Case::passed(&section.name),
        Some(fault) => Case::failed(
            &section.name,
            &[section.lines.clone(), vec![fault]].concat(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Vec<Document> {
        documents(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))).unwrap()
    }

    fn step(shown: &[&str]) -> Step<'static> {
        Step {
            document: Path::new("README.md"),
            command: Command {
                line: 7,
                text: "echo 'a'".to_owned(),
                shown: shown.iter().map(|&line| line.to_owned()).collect(),
            },
        }
    }

    fn has_failed(step: Step, lines: &[&str], status: Option<i32>) -> bool {
        let section = Section {
            name: step.section(),
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
            status,
        };
        case_of(&section, &[step]).has_failed()
    }

    #[test]
    fn a_command_prints_what_is_shown_or_else_succeeds() {
        assert!(!has_failed(step(&["a"]), &["a", ""], Some(1)));
        assert!(has_failed(step(&["a"]), &["b"], Some(0)));
        assert!(!has_failed(step(&[]), &["b"], Some(0)));
        assert!(has_failed(step(&[]), &[], Some(1)));
        assert!(has_failed(step(&["a"]), &["a"], None));
    }

    #[test]
    fn commands_are_quoted_for_a_shell() {
        assert_eq!(
            script(&[step(&[])]),
            "(\nsection README.md:7 eval '{ echo '\\''a'\\''\n} 2>&1'\n)\n"
        );
    }

    #[test]
    fn the_documents_show_commands() {
        let documents = repository();
        for path in ["README.md", "tools/aio/man/hipri-run.1"] {
            let document = documents
                .iter()
                .find(|document| document.path == Path::new(path));
            assert!(!document.unwrap().commands().is_empty(), "{path}");
        }
    }

    #[test]
    fn the_verbs_of_make_that_documents_name_exist() {
        let makefile = include_str!("../../../../Makefile");
        let verbs = makefile
            .lines()
            .find_map(|line| line.strip_prefix("VERBS := "))
            .unwrap();
        for document in repository() {
            for verb in make_verbs(&document.text) {
                let known = verbs.split(' ').any(|known| known == verb);
                assert!(known, "{}: make {verb}", document.path.display());
            }
        }
    }

    /// What make is told to do in the code of a Markdown text.
    fn make_verbs(text: &str) -> Vec<&str> {
        let blocks = text.lines().filter(|line| line.starts_with("    "));
        let spans = text.split('`').skip(1).step_by(2);
        blocks.chain(spans).filter_map(make_verb).collect()
    }

    fn make_verb(code: &str) -> Option<&str> {
        let mut words = code.split_whitespace();
        let make = words.find(|word| !word.contains('='))?;
        let mut arguments = words.filter(|word| !word.contains('='));
        (make == "make").then(|| arguments.next())?
    }
}
