//! `onceward migrate`

use serde_json::json;

use super::{Context, Refused, ledger};
use crate::installation::Installation;

/// Brings the ledger to this version's layout. No process may be running on it.
pub async fn run(context: &Context) -> Result<(), Refused> {
    let installation = Installation::find(context)?;
    let store = ledger::open(&installation.configuration).await?;
    let applied = ledger::migrate(&store).await?;
    let shown = installation.configuration.ledger.display();
    let text = match applied.as_slice() {
        [] => format!("The ledger `{shown}` has every migration."),
        applied => format!("The ledger `{shown}` now has {}.", applied.join(", ")),
    };
    context.say(&json!({ "ledger": installation.configuration.ledger, "applied": applied }), &text);
    Ok(())
}
