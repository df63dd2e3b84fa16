/// Chance from a seed (SplitMix64), so that a failing run can be run again.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that the environment names, else one of the moment; printed, so that a failing run can be repeated.
    pub fn from_environment(name: &str) -> Self {
        let seed = std::env::var(name).ok().map(|text| text.parse().expect("a seed is a whole number"));
        let seed = seed.unwrap_or_else(|| crate::now().0.cast_unsigned());
        println!("to repeat this run: {name}={seed}");
        Self(seed)
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`, which is not zero.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with these odds, 0 to 1.
    pub fn chance(&mut self, odds: f64) -> bool {
        self.unit() < odds
    }

    /// True this often in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[usize::try_from(self.below(among.len() as u64)).unwrap()]
    }

    /// Puts these in another order.
    pub fn shuffle<T>(&mut self, these: &mut [T]) {
        for place in (1..these.len()).rev() {
            these.swap(place, usize::try_from(self.below(place as u64 + 1)).unwrap());
        }
    }
}
