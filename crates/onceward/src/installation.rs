//! What a command works on: the configuration that is in force here, its data folder, and the process that may be running.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::command::{Context, Refused};
use crate::configuration::{self, Configuration};
use crate::demo;

/// The configuration that is in force here.
pub struct Installation {
    /// Compiled.
    pub configuration: Configuration,
    /// Where the ledger, the admin token and the like are.
    pub data: PathBuf,
    /// No onceward.toml: a demo.
    pub demo: bool,
}

/// Where the running process listens, as it says in its data folder.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// `http://127.0.0.1:8080`
    pub public: Option<String>,
    /// `http://127.0.0.1:8081`
    pub admin: String,
    /// The demo's sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
}

const RUNNING: &str = "running.json";
const ADMIN_TOKEN: &str = "admin-token";

/// The file that configures this command; `None` means the demo.
pub fn file(context: &Context) -> Option<PathBuf> {
    let default = Path::new("onceward.toml");
    context.config.clone().or_else(|| default.exists().then(|| default.to_owned()))
}

impl Installation {
    /// Reads what is in force for a command beside the running process.
    ///
    /// # Errors
    ///
    /// Mistakes in the configuration, or a demo that was never started.
    pub fn find(context: &Context) -> Result<Self, Refused> {
        match file(context) {
            Some(path) => Self::of_file(&path, context),
            None => {
                let running = Running::read(&context.data);
                let sandbox = running.as_ref().and_then(|running| running.sandbox.as_deref()).unwrap_or(demo::SANDBOX_UNKNOWN);
                let configuration = demo::find(&context.data, sandbox, &context.environment)?;
                Ok(Self { configuration, data: context.data.clone(), demo: true })
            }
        }
    }

    /// Reads a configuration's file.
    ///
    /// # Errors
    ///
    /// Mistakes in it.
    pub fn of_file(path: &Path, context: &Context) -> Result<Self, Refused> {
        let configuration = configuration::load(path, &context.environment).map_err(Refused::Configuration)?;
        // Beside the ledger where it is a file, else where we are told.
        let data =
            configuration.ledger.file().map_or_else(|| context.data.clone(), |file| file.parent().map(Path::to_owned).unwrap_or_default());
        Ok(Self { configuration, data, demo: false })
    }

    /// Where vendors post to: the running process's word, else the configuration's.
    pub fn public(&self) -> String {
        Running::read(&self.data).and_then(|running| running.public).unwrap_or_else(|| url(self.configuration.listen.public))
    }

    /// Where operators ask: the running process's word, else the configuration's.
    pub fn admin(&self) -> String {
        Running::read(&self.data).map_or_else(|| url(self.configuration.listen.admin()), |running| running.admin)
    }

    /// A token for the admin API: the generated one, else the strongest that is configured.
    pub fn token(&self) -> Option<String> {
        let configured = || self.configuration.tokens.iter().max_by_key(|token| token.role).map(|token| token.token.clone());
        std::fs::read_to_string(self.data.join(ADMIN_TOKEN)).ok().map(|text| text.trim().to_owned()).or_else(configured)
    }

    /// The generated admin token, made now if there is none yet.
    ///
    /// # Errors
    ///
    /// It can be neither read nor written, or the system has no randomness to give.
    pub fn generated_token(&self) -> io::Result<String> {
        folder(&self.data)?;
        secret_file(&self.data.join(ADMIN_TOKEN), || random::<32>().map(hex::encode))
    }
}

/// An address that a client on this machine can reach.
pub fn url(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr =
            if address.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    format!("http://{address}")
}

impl Running {
    /// What the process in this folder said last; it may have died since.
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data.join(RUNNING)).ok()?).ok()
    }

    /// Tells other commands where this process listens.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub fn write(&self, data: &Path) -> io::Result<()> {
        folder(data)?;
        std::fs::write(data.join(RUNNING), serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    /// Takes it back, unless another process has said something since.
    pub fn forget(&self, data: &Path) {
        if Self::read(data).is_some_and(|said| said == *self) {
            // A file that stays behind costs a command one refused connection.
            let _ = std::fs::remove_file(data.join(RUNNING));
        }
    }
}

/// Fresh chance for a secret.
///
/// # Errors
///
/// The system has none to give.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The text of a file that only its owner may read, made now if it is not there.
///
/// # Errors
///
/// It can be neither read nor written.
pub fn secret_file(path: &Path, make: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    use std::io::Write as _;
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let text = make()?;
    // Written beside and moved into place: a crash leaves a whole secret or none.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(text)
}

/// Makes a folder that only its owner may look into, if it is not there.
///
/// # Errors
///
/// It cannot be made.
pub fn folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
