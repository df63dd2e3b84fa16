//! `onceward migrate`

use serde_json::json;

use super::{Context, Refused, ledger};
use crate::installation::Installation;

/// Brings the ledger to this version's layout. No process may be running on one that is a file.
pub async fn run(context: &Context) -> Result<(), Refused> {
    let installation = Installation::find(context)?;
    let store = ledger::open(&installation.configuration).await?;
    let applied = ledger::migrate(&store).await?;
    let shown = installation.configuration.ledger.to_string();
    let text = match applied.as_slice() {
        [] => format!("The ledger `{shown}` has every migration."),
        applied => format!("The ledger `{shown}` now has {}.", applied.join(", ")),
    };
    context.say(&json!({ "ledger": shown, "applied": applied }), &text);
    Ok(())
}
