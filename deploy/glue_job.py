"""The script of the Glue job (glue.yaml); all it does is in the package, which the job installs."""

from stedi_assets.glue_job import main

main()
