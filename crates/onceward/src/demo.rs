//! The demo: a configuration of our own, with secrets that are made at the first start and kept in the data folder.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::command::Refused;
use crate::configuration::{self, Configuration, Environment};
use crate::installation::{folder, random, secret_file};

/// The demo's configuration; `{data}` and `{sandbox}` are filled in.
const TEXT: &str = include_str!("demo.toml");
/// Stands for the sandbox while none is running. Nothing listens on port 1.
pub const SANDBOX_UNKNOWN: &str = "http://127.0.0.1:1";
/// The sources, each with a file of the same name and `-secret`.
pub const SOURCES: [&str; 3] = ["demo", "stripe", "typeform"];

/// Makes what is missing in the data folder.
///
/// # Errors
///
/// The folder cannot be written.
pub fn prepare(data: &Path) -> Result<(), Refused> {
    let made = || -> std::io::Result<()> {
        folder(data)?;
        secret_file(&data.join("encryption-key"), || random::<32>().map(|key| STANDARD.encode(key)))?;
        for source in SOURCES {
            let secret = || random::<24>().map(|secret| format!("whsec_{}", STANDARD.encode(secret)));
            secret_file(&data.join(format!("{source}-secret")), secret)?;
        }
        Ok(())
    };
    made().map_err(|error| {
        let shown = data.display();
        Refused::because(format!(
            "the demo keeps its data in `{shown}`, which cannot be written: {error}; name another folder with `--data`"
        ))
    })
}

/// The configuration of a demo that was started before.
///
/// # Errors
///
/// It never was, or something in its folder is damaged.
pub fn find(data: &Path, sandbox: &str, environment: &Environment) -> Result<Configuration, Refused> {
    if !data.join("encryption-key").exists() {
        let shown = data.display();
        return Err(Refused::because(format!(
            "there is no onceward.toml here and no demo in `{shown}`: start `onceward` first, or name a configuration with `--config` or a folder with `--data`"
        )));
    }
    load(data, sandbox, environment)
}

/// The demo's configuration.
///
/// # Errors
///
/// Something in its folder is damaged, or the environment overrides it with something wrong.
pub fn load(data: &Path, sandbox: &str, environment: &Environment) -> Result<Configuration, Refused> {
    // JSON's escapes are those of a TOML text in double quotes.
    let quoted = serde_json::Value::from(data.display().to_string()).to_string();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    let text = TEXT.replace("{data}", inner).replace("{sandbox}", sandbox);
    configuration::parse("demo (built in)", &text, environment).map_err(Refused::Configuration)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_demo_is_in_order_and_its_secrets_stay_and_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("it's \"here\"");
        assert!(find(&data, SANDBOX_UNKNOWN, &Environment::new()).is_err(), "it was never started");
        prepare(&data).unwrap();
        let secret = std::fs::read_to_string(data.join("demo-secret")).unwrap();
        prepare(&data).unwrap();
        assert_eq!(std::fs::read_to_string(data.join("demo-secret")).unwrap(), secret);
        for name in ["encryption-key", "demo-secret", "stripe-secret", "typeform-secret"] {
            let mode = std::fs::metadata(data.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let configuration = find(&data, SANDBOX_UNKNOWN, &Environment::new()).unwrap_or_else(|refused| panic!("{refused:?}"));
        assert_eq!(configuration.sources.keys().map(String::as_str).collect::<Vec<_>>(), SOURCES);
        assert!(configuration.warnings.is_empty(), "{:?}", configuration.warnings);
        assert!(configuration.ledger.file().is_some_and(|file| file.starts_with(&data)));
    }
}
