//! The bounded run of what `fuzz/` runs without end: requests made from nothing, and genuine ones with bytes changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is missing")]

extern crate onceward_model as model;

mod targets;

use model::preset::{preset, sample};
use model::signature::{SignError, Verdict};
use model::{Received, Time};
use proptest::collection::vec;
use proptest::prelude::*;
use targets::{Cut, NOW, TARGETS, Target};

/// A request of a preset's sample, signed with the key that its sender has; nothing for public keys, whose private half nobody has.
fn genuine(target: &Target) -> Option<Cut> {
    let held = preset(target.name).unwrap().unwrap();
    let sample = sample(target.name).unwrap();
    let mut headers: Vec<(String, Vec<u8>)> =
        held.sample_headers.into_iter().map(|(name, value)| (name.to_lowercase(), value.into_bytes())).collect();
    headers.push(("content-type".to_owned(), sample.content_type().into_bytes()));
    let mut path = format!("/webhooks/{}", target.name);
    loop {
        let request = Received { method: "POST", target: &path, headers: &headers, body: sample.body };
        match target.known.sign(&request, NOW) {
            Ok(signed) => {
                headers.extend(signed.headers.into_iter().map(|(name, value)| (name, value.into_bytes())));
                return Some(Cut { method: "POST".to_owned(), target: signed.target, headers, body: signed.body });
            }
            Err(SignError::Header(name)) if !headers.iter().any(|(held, _)| *held == name) => headers.push((name, b"msg_1".to_vec())),
            Err(SignError::Query(name)) if !path.contains(&name) => path = format!("{path}?{name}=1"),
            Err(SignError::PublicKey) => return None,
            Err(error) => panic!("{}: {error}", target.name),
        }
    }
}

/// One thing done to bytes.
#[derive(Clone, Debug)]
enum Blow {
    Set(usize, u8),
    Cut(usize, usize),
    Twice(usize, usize),
    Put(usize, &'static [u8]),
}

fn blows() -> impl Strategy<Value = Vec<Blow>> {
    const PIECES: [&[u8]; 12] =
        [b"\n", b"\n\n", b"=", b",", b"&", b"%00", b"\"", b"[[[[", b"{}", b"\xff\xfe", b"--", b"authorization: Bearer \n"];
    let blow = prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Blow::Set(at, byte)),
        (any::<usize>(), 1..64_usize).prop_map(|(at, length)| Blow::Cut(at, length)),
        (any::<usize>(), 1..64_usize).prop_map(|(at, length)| Blow::Twice(at, length)),
        (any::<usize>(), 0..PIECES.len()).prop_map(|(at, which)| Blow::Put(at, PIECES[which])),
    ];
    vec(blow, 1..4)
}

fn strike(mut data: Vec<u8>, blows: &[Blow]) -> Vec<u8> {
    for blow in blows {
        let length = data.len().max(1);
        let part = |at: usize, most: usize| at % length..(at % length + most).min(data.len()).max(at % length);
        match *blow {
            Blow::Set(at, byte) => data.get_mut(at % length).into_iter().for_each(|held| *held = byte),
            Blow::Cut(at, most) => drop(data.drain(part(at, most))),
            Blow::Twice(at, most) => {
                let held = data[part(at, most)].to_vec();
                drop(data.splice(at % length..at % length, held));
            }
            Blow::Put(at, piece) => drop(data.splice(at % length..at % length, piece.iter().copied())),
        }
    }
    data
}

#[test]
fn what_the_sender_signs_is_taken_and_under_another_key_it_is_not() {
    for target in TARGETS.iter() {
        let Some(cut) = genuine(target) else { continue };
        let verified = target.known.verify(&cut.received(), NOW).unwrap_or_else(|rejection| panic!("{}: {rejection:?}", target.name));
        assert_eq!(verified.verdict, target.known.verdict());
        assert!(target.unknown.verify(&cut.received(), NOW).is_err(), "{}", target.name);
    }
    assert!(TARGETS.len() >= 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_bounded_fuzzing_run_from_nothing(data in vec(any::<u8>(), 0..600), text in "[ -~\n]{0,600}") {
        for data in [data.as_slice(), text.as_bytes()] {
            targets::signature(data);
            targets::mapping(data);
            targets::framing(data);
        }
    }

    #[test]
    fn a_bounded_fuzzing_run_from_genuine_requests(which: usize, blows in blows()) {
        let all: Vec<(&Target, Cut)> = TARGETS.iter().filter_map(|target| Some((target, genuine(target)?))).collect();
        let (target, cut) = &all[which % all.len()];
        let data = strike(cut.glued(), &blows);
        targets::signature(&data);
        targets::mapping(&data);
        targets::framing(&data);
        // Where the whole body is signed, a changed one is refused even by whoever has the key.
        let struck = Cut::of(&data);
        let template = target.source.scheme.signed.clone().unwrap_or_default();
        if target.known.verdict() == Verdict::Verified && template.contains("{body}") && struck.body != cut.body {
            prop_assert!(target.known.verify(&struck.received(), NOW).is_err(), "{}: {blows:?}", target.name);
        }
        prop_assert!(target.known.verify(&cut.received(), Time(NOW.0)).is_ok());
    }
}
