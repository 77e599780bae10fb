// Prelude: a kernel over Value handles one f32 at a time; any width.
alias Value = f32;
const LANES = 1u;
fn total(v: Value) -> f32 { return v; }
