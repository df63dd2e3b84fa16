use super::*;
use crate::source::sample;
#[test]
fn measure() {
    for (preset, headers) in [
        ("typeform", &[][..]),
        ("stripe", &[]),
        ("standard-webhooks", &[("webhook-id", "m")]),
        ("shopify", &[("x-shopify-topic", "customers/create")]),
    ] {
        let source = Source::compile(preset, &SourceDef { preset: Some(preset.to_owned()), ..SourceDef::default() }).unwrap();
        let body = sample(preset).unwrap().as_bytes();
        for round in 0..3 {
            let n = 5000;
            let start = std::time::Instant::now();
            for _ in 0..n {
                std::hint::black_box(read_all(&source, headers, "", body, NOW));
            }
            let all = start.elapsed() / n;
            let start = std::time::Instant::now();
            for _ in 0..n {
                std::hint::black_box(crate::mapping::document::parse(body).unwrap());
            }
            if round == 2 {
                println!("{preset}: {} bytes, read {:?}, of it parse {:?}", body.len(), all, start.elapsed() / n);
            }
        }
    }
}
