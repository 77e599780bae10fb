// Operands of products as they are, for linear_tiled.wgsl and linear_rows.wgsl.
alias Half = f32;
alias Sum = f32;
fn narrow(v: vec4f) -> vec4f { return v; }
fn narrow_gradient(v: vec4f) -> vec4f { return v; }
fn gradient(v: vec4f) -> vec4f { return v; }
