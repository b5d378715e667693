//! A fuzzer for a stable toolchain: it mutates the kept corpus, and does not measure coverage.
//!
//! `mutate TARGET SECONDS [SEED]`; a failing input is left in `artifacts/TARGET/`, as cargo-fuzz does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, panic, process};

/// The largest size of an input; larger ones are cut.
const LARGEST: usize = 4096;

/// Marsaglia's xorshift generator, which is enough as inputs need variety, not secrecy.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\r\n \t:;,=\0\xff0123456789abcdefHT/.-\x80\x7f\x81\x88";
        if self.below(2) == 0 {
            TELLING[self.below(TELLING.len())]
        } else {
            self.below(256) as u8
        }
    }
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 if at < input.len() => input[at] = random.byte(),
            1 => input.insert(at, random.byte()),
            2 => {
                input.drain(at..(at + random.below(8)).min(input.len()));
            }
            3 => {
                let end = (at + random.below(32)).min(input.len());
                let copy = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => input.truncate(at),
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let end = (from + random.below(64)).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
    input.truncate(LARGEST);
}

fn load(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut corpus: Vec<Vec<u8>> = entries
        .filter_map(|entry| fs::read(entry.path()).ok())
        .collect();
    corpus.push(vec![0; 2]);
    corpus
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    process::exit(2)
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, seconds, rest @ ..] = &arguments[..] else {
        fail("mutate TARGET SECONDS [SEED]")
    };
    let Some((_, target)) = fuzz::TARGETS.iter().find(|(known, _)| known == name) else {
        fail(&format!("no target {name}"))
    };
    let Ok(seconds) = seconds.parse().map(Duration::from_secs) else {
        fail("SECONDS is a number")
    };
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |now| now.as_nanos() as u64);
    let seed = rest
        .first()
        .and_then(|text| text.parse().ok())
        .unwrap_or(clock)
        | 1;
    let mut random = Random(seed);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = load(&folder.join("corpus").join(name));

    let end = Instant::now() + seconds;
    let mut runs = 0_u64;
    let mut try_one = |input: &[u8]| {
        runs += 1;
        if panic::catch_unwind(|| target(input)).is_err() {
            let path: PathBuf = folder.join("artifacts").join(name);
            let file = path.join(format!("seed-{seed}"));
            let written = fs::create_dir_all(&path).and_then(|()| fs::write(&file, input));
            eprintln!("{name}: failing input in {}: {written:?}", file.display());
            process::exit(1);
        }
    };
    corpus.iter().for_each(|input| try_one(input));
    while Instant::now() < end {
        for _ in 0..256 {
            let mut input = corpus[random.below(corpus.len())].clone();
            mutate(&mut input, &corpus, &mut random);
            try_one(&input);
        }
    }
    println!("{name}: {runs} inputs, none failed (seed {seed})");
}
