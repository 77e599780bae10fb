/** Tests of the most likely token. @module */
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./top_token_cases.ts";

checkKernels("top_token", cases, mistakes);
