// Stands in front of a kernel whose vectors share their loads by broadcasts, for vectors of one thread: it keeps what it has.
fn subgroupBroadcast(own: vec4f, lane: u32) -> vec4f { return own; }
