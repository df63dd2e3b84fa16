//! What it takes to check a request again.

use super::Verifier;
use super::place::Place;

impl Verifier {
    /// The headers that hold signatures, tokens and timestamps, under every name.
    pub fn header_names(&self) -> Vec<&str> {
        let places = [Some(&self.place), self.clock.as_ref().and_then(|clock| clock.place.as_ref())];
        let names = places.into_iter().flatten().map(|place| match place {
            Place::Headers(headers) => headers.iter().flatten().map(String::as_str).collect(),
            Place::Query(_) | Place::Json(_) | Place::Form(_) => Vec::new(),
        });
        names.flatten().collect()
    }
}
