import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./linear_half_cases.ts";

checkKernels("linear in half precision", cases, mistakes);
