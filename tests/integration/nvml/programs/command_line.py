"""The command line of nvidia-smi; argv[1:] are its arguments."""

import sys

from guest import answer, smi

done = smi(*sys.argv[1:])
answer([done.returncode, done.stdout, done.stderr])
