//! `onceward up`, `onceward-ingest` and `onceward-worker`.

use std::net::SocketAddr;

use clap::Args;

use super::{Context, Refused};
use crate::process::{self, Asked, Role};

#[derive(Args, Clone, Default)]
pub struct Up {
    /// Where vendors post to, instead of what `listen.public` says; port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    public: Option<SocketAddr>,
    #[command(flatten)]
    admin: AdminListener,
}

#[derive(Args, Clone, Default)]
pub struct AdminListener {
    /// Where operators look, instead of what `listen.admin` says; port 0 picks a free one.
    #[arg(long = "admin", value_name = "ADDR", id = "admin_listener")]
    admin: Option<SocketAddr>,
}

impl Up {
    /// Whether anything was said.
    pub fn given(&self) -> bool {
        self.public.is_some() || self.admin.admin.is_some()
    }

    pub fn asked(&self) -> Asked {
        Asked { public: self.public, ..self.admin.asked() }
    }
}

impl AdminListener {
    pub fn asked(&self) -> Asked {
        Asked { public: None, admin: self.admin }
    }
}

/// Runs everything until it is told to stop.
pub async fn run(context: &Context, up: Up) -> Result<(), Refused> {
    process::run(context, Role::Everything, up.asked()).await
}
