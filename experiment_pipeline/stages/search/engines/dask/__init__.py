"""cluster: fits on a Dask cluster. It knows Dask, and nothing of models; only here is it imported.

Here: `connection` (to a scheduler, or to a cluster of this machine's own), `workers` (who is there),
`checks` (who may get a task), `calls` (one call to one worker), `tasks` (many, through the death of
workers and of the scheduler). What a task does belongs to who calls. In: the `engine` of the YAML, a
function and its arguments. Out: results as they come.
"""

from experiment_pipeline.stages.search.engines.dask.checks import PACKAGES as PACKAGES
from experiment_pipeline.stages.search.engines.dask.connection import connected as connected
from experiment_pipeline.stages.search.engines.dask.connection import engine_of as engine_of
from experiment_pipeline.stages.search.engines.dask.tasks import Cluster as Cluster
from experiment_pipeline.stages.search.engines.dask.tasks import Done as Done
