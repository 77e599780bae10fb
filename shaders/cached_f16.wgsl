enable f16;
// The key/value cache holds values rounded to f16; stands in front of the texts that read and write it as vec4<Cached>.
alias Cached = f16;
