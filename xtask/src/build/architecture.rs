// SPDX-License-Identifier: GPL-2.0-only

//! The processors that kernels are built for: this host's, or others, by cross compilers.

use anyhow::{bail, Result};

/// What a kernel runs on, and the guest's programs with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Architecture {
    /// x86-64.
    X86,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// The architecture that the variable `ARCH` asks for; x86-64 when it is unset or empty.
    pub fn wanted() -> Result<Self> {
        Self::parse(super::non_empty("ARCH").as_deref())
    }

    fn parse(word: Option<&str>) -> Result<Self> {
        match word {
            None | Some("x86_64") => Ok(Self::X86),
            Some("arm64") => Ok(Self::Arm64),
            Some(other) => bail!("ARCH={other} is neither x86_64 nor arm64"),
        }
    }

    /// The configuration fragment of its kernels, by its name under `configs/`.
    pub fn fragment(self) -> &'static str {
        match self {
            Self::X86 => "x86",
            Self::Arm64 => "arm64",
        }
    }

    /// The name of a folder for what else would be called `name`: x86-64 goes without saying.
    pub fn named(self, name: &str) -> String {
        match self {
            Self::X86 => name.to_owned(),
            Self::Arm64 => format!("{name}-arm64"),
        }
    }

    /// The variables of the kernel's make.
    pub fn make_variables(self) -> &'static [&'static str] {
        match self {
            Self::X86 => &[],
            Self::Arm64 => &["ARCH=arm64"],
        }
    }

    /// What the names of GNU's tools for it begin with in the build root.
    pub fn cross_compile(self) -> &'static str {
        match self {
            Self::X86 => "",
            Self::Arm64 => "aarch64-linux-gnu-",
        }
    }

    /// The kernel's image, by its path in an object tree.
    pub fn image(self) -> &'static str {
        match self {
            Self::X86 => "arch/x86/boot/bzImage",
            Self::Arm64 => "arch/arm64/boot/Image",
        }
    }

    /// The image's own name, which is what make is asked for too.
    pub fn image_name(self) -> &'static str {
        let path = self.image();
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_one_of_two() {
        assert_eq!(Architecture::parse(None).unwrap(), Architecture::X86);
        assert_eq!(
            Architecture::parse(Some("x86_64")).unwrap(),
            Architecture::X86
        );
        assert_eq!(
            Architecture::parse(Some("arm64")).unwrap(),
            Architecture::Arm64
        );
        let refused = Architecture::parse(Some("riscv")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "ARCH=riscv is neither x86_64 nor arm64"
        );
    }

    #[test]
    fn an_image_is_named_after_its_path() {
        assert_eq!(Architecture::X86.image_name(), "bzImage");
        assert_eq!(Architecture::Arm64.image_name(), "Image");
    }
}
