// SPDX-License-Identifier: GPL-2.0-only

//! From a clone to a kernel: build root, source, staged tree, configuration, objects.
//!
//! What is slow to make lives in the user's cache folder, keyed by what it was made from, and is
//! safe to delete. What a clone made for itself lives in its `build/` folder.

pub mod architecture;
pub mod archive;
pub mod command;
pub mod config;
pub mod debian;
pub mod git;
pub mod host;
pub mod key;
pub mod kmake;
pub mod lock;
pub mod mirror;
pub mod overlay;
pub mod progress;
pub mod release;
pub mod root;
pub mod scratch;
pub mod source;
pub mod stage;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

pub use architecture::Architecture;
use kmake::{Compiler, KernelMake, Start};
use lock::CacheLock;
pub use root::{build_root, BuildRoot};
use stage::Stage;

/// Which implementation of fs/aio a kernel has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// Linux with the overlay of this repository, and `CONFIG_AIO_RUST`.
    Rust,
    /// The untouched tree, with the C fs/aio.c.
    C,
}

impl Flavour {
    /// The flavour that the variable `KERNEL` asks for; Rust when it is unset or empty.
    pub fn wanted() -> Result<Self> {
        Self::parse(non_empty("KERNEL").as_deref())
    }

    fn parse(word: Option<&str>) -> Result<Self> {
        match word {
            None | Some("rust") => Ok(Flavour::Rust),
            Some("c") => Ok(Flavour::C),
            Some(other) => bail!("KERNEL={other} is neither rust nor c"),
        }
    }

    /// The folder name of this flavour under `build/kernel/`.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Rust => "rust",
            Flavour::C => "c",
        }
    }
}

/// The places this program reads from and writes to.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The clone.
    pub root: PathBuf,
    /// `build/` in the clone: results and logs.
    pub build: PathBuf,
    /// Shared by all clones of a user: `$XDG_CACHE_HOME/polled-aio`, or under `~/.cache`.
    pub cache: PathBuf,
    /// The user's own kernel tree (`KERNEL_SRC`), never written to.
    pub kernel_src: Option<PathBuf>,
    /// A further configuration fragment (`MODE`), by its name under `configs/`.
    pub mode: Option<String>,
    /// What kernels and the guest are for (`ARCH`).
    pub architecture: Architecture,
}

impl Workspace {
    /// Finds the clone this program was built from and reads the environment.
    pub fn discover() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask/ has no parent folder")?
            .to_path_buf();
        Ok(Self {
            build: root.join("build"),
            root,
            cache: cache_folder()?,
            kernel_src: non_empty("KERNEL_SRC").map(PathBuf::from),
            mode: non_empty("MODE"),
            architecture: Architecture::wanted()?,
        })
    }

    /// Whether `MODE` asks for a kernel that watches itself, and is slow for that.
    pub fn is_watched(&self) -> bool {
        matches!(self.mode.as_deref(), Some("debug" | "kcsan"))
    }

    /// The configuration fragments that `MODE` asks for on top of the product's.
    pub fn fragments(&self) -> Vec<&str> {
        self.mode.as_deref().into_iter().collect()
    }
}

/// A kernel that was built.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// A copy of the kernel image, under `build/kernel/`; the configuration lies beside it.
    pub image: PathBuf,
}

impl Kernel {
    /// Whether its configuration has a line such as `CONFIG_SMP=y`.
    pub fn is_configured(&self, line: &str) -> Result<bool> {
        let config = kmake::read_text(self.image.with_file_name("config"))?;
        Ok(config.lines().any(|found| found == line))
    }
}

/// Builds the kernel of `flavour` if anything it is made of changed.
///
/// `extra_fragments` are names under `configs/` without `.config`, such as `kunit`; they are merged
/// last. The image is always left at `build/kernel/<flavour>[-arm64][-<fragment>...]/`, as `bzImage`
/// or, for arm64, as `Image`.
pub fn kernel(ws: &Workspace, flavour: Flavour, extra_fragments: &[&str]) -> Result<Kernel> {
    let root = build_root(ws)?;
    let variant = variant(ws.architecture, flavour, extra_fragments);
    let folder = ws.build.join("kernel").join(&variant);
    let kernel = KernelTree::prepare(ws, &root, flavour, &variant, extra_fragments)?;
    fs::create_dir_all(&folder)?;
    kernel
        .make(&root)
        .image(&kernel.stage.key, &folder.join("build.log"))?;
    copy_if_changed(&kernel.objects.join(".config"), &folder.join("config"))?;
    let built = kernel.objects.join(ws.architecture.image());
    let image = copy_if_changed(&built, &folder.join(ws.architecture.image_name()))?;
    Ok(Kernel { image })
}

/// A staged tree and a configured object tree. One of a variant serves all clones, in turns.
pub struct KernelTree {
    /// The source tree.
    pub stage: Stage,
    /// The object tree.
    pub objects: PathBuf,
    compiler: Compiler,
    architecture: Architecture,
    _lock: CacheLock,
}

impl KernelTree {
    /// Stages and configures the tree `variant`; it stays locked until dropped.
    pub fn prepare(
        ws: &Workspace,
        root: &BuildRoot,
        flavour: Flavour,
        variant: &str,
        extra_fragments: &[&str],
    ) -> Result<Self> {
        let fragments = config::fragments(ws, flavour, extra_fragments)?;
        let pristine = source::pristine(ws, root)?;
        let lock = lock::exclusive(&pristine.lock_file(ws))?;
        let stage = stage::staged(ws, &pristine, flavour)?;
        let objects = pristine.objects_folder(ws, root, variant);
        let texts = fragments
            .iter()
            .map(kmake::read_text)
            .collect::<Result<Vec<_>>>()?;
        let compiler = Compiler::wanted(&texts);
        if compiler == Compiler::Llvm {
            let product = self::variant(ws.architecture, flavour, &[]);
            seed(&objects, &pristine.objects_folder(ws, root, &product))?;
        }
        let kernel = Self {
            stage,
            objects,
            compiler,
            architecture: ws.architecture,
            _lock: lock,
        };
        fs::create_dir_all(&ws.build)?;
        let log = ws.build.join(format!("config-{variant}.log"));
        let symbols = &kernel.stage.kconfig_key;
        kernel
            .make(root)
            .configure(Start::Nothing, &fragments, symbols, &log)?;
        Ok(kernel)
    }

    /// The kernel's make on this tree.
    pub fn make<'a>(&'a self, root: &'a BuildRoot) -> KernelMake<'a> {
        KernelMake {
            root,
            tree: &self.stage.tree,
            objects: &self.objects,
            compiler: self.compiler,
            architecture: self.architecture,
        }
    }
}

/// The source tree of `flavour`, brought up to date with the clone.
///
/// It lies in the cache and is shared: another clone's build may change it after this returns, but
/// not the files that no clone's overlay names. Read it, or copy it; do not write to it.
pub fn staged_tree(ws: &Workspace, flavour: Flavour) -> Result<PathBuf> {
    let root = build_root(ws)?;
    let pristine = source::pristine(ws, &root)?;
    let _lock = lock::exclusive(&pristine.lock_file(ws))?;
    Ok(stage::staged(ws, &pristine, flavour)?.tree)
}

/// Starts a new object tree from the product's of the same source tree, if that was built.
///
/// To make it is then as if the configuration had changed: most objects stay.
pub fn seed(objects: &Path, product: &Path) -> Result<()> {
    if objects.exists() || !product.join("vmlinux").exists() {
        return Ok(());
    }
    let partial = beside(objects, ".partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let mut cp = Command::new("cp");
    cp.args(["--archive", "--reflink=auto"])
        .args([product, &partial]);
    command::run(&mut cp)?;
    Ok(fs::rename(&partial, objects)?)
}

fn variant(architecture: Architecture, flavour: Flavour, extra_fragments: &[&str]) -> String {
    let product = architecture.named(flavour.name());
    let mut words = vec![product.as_str()];
    words.extend(extra_fragments);
    words.join("-")
}

fn cache_folder() -> Result<PathBuf> {
    let base = match (non_empty("XDG_CACHE_HOME"), non_empty("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => bail!("set HOME or XDG_CACHE_HOME: the cache folder goes there"),
    };
    Ok(base.join("polled-aio"))
}

/// The path that is `path` with `suffix` after its name: what belongs to it lies beside it.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// An environment variable's value, unless unset or empty.
fn non_empty(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Copies `from` to `to` unless the content is the same already; returns `to`.
fn copy_if_changed(from: &Path, to: &Path) -> Result<PathBuf> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write_if_changed(to, &content)?;
    Ok(to.to_path_buf())
}

/// Writes `content` to `path`, keeping file and time stamp where it is there already.
///
/// Returns whether it wrote.
fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, content)?;
    set_mode(file.path(), 0o644)?;
    file.persist(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Whether a file name ends in `.extension`.
pub fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flavour_is_rust_or_c() {
        assert_eq!(Flavour::parse(None).unwrap(), Flavour::Rust);
        assert_eq!(Flavour::parse(Some("rust")).unwrap(), Flavour::Rust);
        assert_eq!(Flavour::parse(Some("c")).unwrap(), Flavour::C);
        assert!(Flavour::parse(Some("C++")).is_err());
    }

    #[test]
    fn a_variant_names_its_architecture_and_fragments() {
        assert_eq!(variant(Architecture::X86, Flavour::C, &[]), "c");
        let with_tests = |architecture| variant(architecture, Flavour::Rust, &["kunit"]);
        assert_eq!(with_tests(Architecture::X86), "rust-kunit");
        assert_eq!(with_tests(Architecture::Arm64), "rust-arm64-kunit");
    }

    #[test]
    fn a_new_object_tree_starts_from_a_built_one_only() {
        let folder = tempfile::tempdir().unwrap();
        let (product, objects) = (folder.path().join("rust"), folder.path().join("rust-kunit"));
        fs::create_dir(&product).unwrap();
        seed(&objects, &product).unwrap();
        assert!(!objects.exists());
        fs::write(product.join("vmlinux"), "").unwrap();
        seed(&objects, &product).unwrap();
        assert!(objects.join("vmlinux").exists());
        fs::remove_file(product.join("vmlinux")).unwrap();
        seed(&objects, &product).unwrap();
    }

    #[test]
    fn writing_the_same_content_keeps_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert!(write_if_changed(&path, b"one").unwrap());
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(!write_if_changed(&path, b"one").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert!(write_if_changed(&path, b"two").unwrap());
    }
}
