import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./adamw_cases.ts";

checkKernels("adamw", cases, mistakes);
