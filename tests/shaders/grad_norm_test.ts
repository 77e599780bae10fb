import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./grad_norm_cases.ts";

checkKernels("grad_norm", cases, mistakes);
