import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./head_cases.ts";

checkKernels("head", cases, mistakes);
