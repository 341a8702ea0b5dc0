import shutil


def check_target(to): ...
def hand_over(model, to, *, choice, record, refit):
    if to.exists(): shutil.rmtree(to)
    shutil.copytree(model, to); return 1
