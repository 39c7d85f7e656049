"""PPO of brax on its own inverted pendulum: 2,048 steps of one environment, ten passes in batches of 64 steps.

Its physics are its own. `train` cannot be called in pieces, so it runs in a thread and waits in its progress callback
for the next request; one epoch of it is timed, with an evaluation of one episode of 64 steps.
"""

from brax import envs
from brax.training.agents.ppo import train as ppo_train
from serve import in_pieces, serve

STEPS, UNROLL, EPOCHS = 2048, 64, 200


def main():
    def train(wait):
        ppo_train.train(
            environment=envs.get_environment("inverted_pendulum"),
            num_timesteps=EPOCHS * STEPS,
            episode_length=UNROLL,
            num_envs=1,
            num_eval_envs=1,
            num_evals=EPOCHS + 1,
            unroll_length=UNROLL,
            batch_size=1,
            num_minibatches=STEPS // UNROLL,
            num_updates_per_batch=10,
            learning_rate=3e-4,
            discounting=0.99,
            max_devices_per_host=1,
            progress_fn=wait,
        )

    epoch = in_pieces(train)

    def ppo():
        epoch()
        return STEPS

    serve("brax", ("brax", "jax", "flax", "optax"), {"ppo": ppo})


if __name__ == "__main__":
    main()
