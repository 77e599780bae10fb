// Products of rounded operands, made and added up in f16 within a slice.
alias Sum = f16;
