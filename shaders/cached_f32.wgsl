// The key/value cache holds f32; stands in front of the texts that read and write it as vec4<Cached>.
alias Cached = f32;
