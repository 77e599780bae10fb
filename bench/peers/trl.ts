/** TRL: an iteration of its GRPOTrainer. @module */

/** The script, without what all of them share. */
export const TRL = String.raw`
import tempfile

WARM = 2  # iterations before anything is timed


def tokenizer(vocabulary):
    """One word for each token: prompts go in as text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast
    words = Tokenizer(WordLevel({"t%d" % i: i for i in range(vocabulary)}, unk_token="t0"))
    words.pre_tokenizer = WhitespaceSplit()
    # Padding and stopping need a name each; neither happens: all sequences are of one length.
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="t0", eos_token="t1", padding_side="left")


def train(folder):
    """Trains for good, answering each line on standard input with the time of an iteration."""
    global what
    from datasets import Dataset
    from transformers import TrainerCallback, __version__
    from trl import GRPOConfig, GRPOTrainer, __version__ as version
    what += ", transformers %s, TRL %s" % (__version__, version)
    prompts, rollouts, prompt, fresh = (work[key] for key in ("prompts", "rollouts", "prompt", "fresh"))
    vocabulary = work["model"]["vocab_size"]
    # The reference model is read from where the model came from.
    transformers_qwen2().save_pretrained(folder)
    ids = token_ids(prompts * prompt, vocabulary).view(prompts, prompt).tolist()
    rows = [{"prompt": " ".join("t%d" % token for token in row)} for row in ids]
    made = [0]

    def reward(completion_ids, **_):
        made[0] = sum(len(tokens) for tokens in completion_ids)
        # As in every group here: each second rollout is right.
        return [float(i % 2) for i in range(len(completion_ids))]

    class Conversation(TrainerCallback):
        """An iteration samples within its step, so that the time of a step is all of it."""
        done = 0

        def on_step_begin(self, args, state, control, **_):
            if self.done == WARM:
                say(kind="ready", what=what, values=[made[0]])
            if self.done >= WARM and sys.stdin.readline().strip() != "run":
                sys.exit(0)
            wait()
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **_):
            wait()
            self.done += 1
            if self.done > WARM:
                say(kind="time", seconds=time.perf_counter() - self.start)

    trainer = GRPOTrainer(
        model=folder, reward_funcs=reward, train_dataset=Dataset.from_list(rows), processing_class=tokenizer(vocabulary),
        callbacks=[Conversation()],
        args=GRPOConfig(
            output_dir=folder, max_steps=1000000, per_device_train_batch_size=prompts * rollouts,
            num_generations=rollouts, max_completion_length=fresh, temperature=1.0, top_p=TOP_P,
            # No sequence may end before the others.
            generation_kwargs={"min_new_tokens": fresh}, beta=KL, epsilon=CLIP,
            learning_rate=LR, lr_scheduler_type="constant", adam_beta1=BETAS[0], adam_beta2=BETAS[1], adam_epsilon=EPS,
            weight_decay=DECAY, max_grad_norm=MAX_NORM, use_cpu=device == "cpu", bf16=False,
            gradient_checkpointing=False, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True))
    trainer.train()


try:
    with tempfile.TemporaryDirectory() as folder:
        train(folder)
except Exception as error:
    fail(error)
`;
