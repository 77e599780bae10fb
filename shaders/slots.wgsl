// The start of a decode step: what the model's kernels read, from the state of every slot.
//   slots [S, 8] = token, position, alive, last_position, key0, key1, generated, finish     table [S, max_blocks]
//   offsets [S]: added to the position for the rotary embedding (M-RoPE's delta after pictures, modulo 2^32; 0 for text)
//   ids[s] = token, positions[s] = position + offset, rows[s] = cache row of this token: table[s][position / block_size] ·
//   block_size + position % block_size. A dead slot computes token 0 at position 0 and writes no row.

struct Dims {
  slots: u32,
  max_blocks: u32,
  block_size: u32,
}

const NO_ROW = 0xffffffffu;

@group(0) @binding(0) var<uniform> d: Dims;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> positions: array<u32>;
@group(0) @binding(6) var<storage, read_write> rows: array<u32>;

@compute @workgroup_size(64)
fn begin_step(@builtin(global_invocation_id) id: vec3u) {
  let s = id.x;
  if (s >= d.slots) { return; }
  var token = 0u;
  var rotary = 0u;
  var row = NO_ROW;
  if (slots[s * 8u + 2u] == 1u) {
    token = slots[s * 8u];
    let position = slots[s * 8u + 1u];
    rotary = position + offsets[s];
    row = table[s * d.max_blocks + position / d.block_size] * d.block_size + position % d.block_size;
  }
  ids[s] = token;
  positions[s] = rotary;
  rows[s] = row;
}
