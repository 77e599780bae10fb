// Products of rounded operands, made and added up in f32.
alias Sum = f32;
