// A tensor that the program mirrors in a texture: four f32 values to a texel, 1024 texels to a row. A storage texture, since
// lavapipe looks the size of the level up lane by lane where a texture may have several.
alias Mirror = texture_storage_2d<rgba32float, read>;
fn texel(t: Mirror, i: u32) -> vec4f { return textureLoad(t, vec2u(i & 1023u, i >> 10u)); }
