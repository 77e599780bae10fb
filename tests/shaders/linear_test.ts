import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./linear_cases.ts";

checkKernels("linear", cases, mistakes);
