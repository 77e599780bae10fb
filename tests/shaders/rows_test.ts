import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./rows_cases.ts";

checkKernels("rows", cases, mistakes);
