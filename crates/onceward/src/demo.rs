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
        Refused::because(format!("the demo keeps its data in `{shown}`, which cannot be written: {error}; name another folder with `--data`"))
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
    let quoted = toml::Value::String(data.display().to_string()).to_string();
    let inner = quoted.trim_matches(['"', '\'']);
    let text = TEXT.replace("{data}", inner).replace("{sandbox}", sandbox);
    configuration::parse("demo (built in)", &text, environment).map_err(Refused::Configuration)
}
