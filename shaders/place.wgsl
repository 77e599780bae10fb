// Prelude: column (x) and row (y) of item i in rows of n items.
fn place(i: u32, n: u32) -> vec2u { return vec2u(i % n, i / n); }
