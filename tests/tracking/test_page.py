"""MLflow's own page shows the runs and draws their charts.

With ``WRITE_SCREENSHOTS=1`` the picture of the documentation is taken anew.
"""

import io
import os
import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from rllib_agentmixer.runs import training
from rllib_agentmixer.runs.live_progress import LiveProgress
from tests.tracking.servers import Server

webdriver = pytest.importorskip("selenium.webdriver")

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1000",
)
EXPERIMENT = "climbing"
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "mlflow_runs.png"
CHARTS = "evaluation/individual/episode_return"
NUM_STEPS = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("page"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def runs(ray_cluster, server, tmp_path_factory):
    """Names of real runs of three algorithms in the server's experiment."""
    from rllib_agentmixer.commands.common import make_config

    root, names = tmp_path_factory.mktemp("runs"), []
    words = ("train_batch_size=256", "num_envs_per_env_runner=32", "lr=5e-3")
    for algorithm in ("agentmixer", "mappo", "ippo"):
        for seed in range(3 if "WRITE_SCREENSHOTS" in os.environ else 1):
            config = make_config("climbing", algorithm, seed, 0, (*words, "evaluation_interval=1"))
            names.append(f"{algorithm}-seed{seed}")
            plan = training.RunPlan(
                out=root / names[-1],
                total_steps=256 * NUM_STEPS,
                tracking_uri=server.uri,
                experiment=EXPERIMENT,
            )
            made = training.build(config, plan)
            quiet = Console(file=io.StringIO())
            training.run(made, plan, LiveProgress(plan.total_steps, None, console=quiet))
            made.stop()
    return names


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    service = webdriver.ChromeService(DRIVER)
    opened = webdriver.Chrome(options=options, service=service)
    opened.set_page_load_timeout(120)
    yield opened
    opened.quit()


def wait_for(browser, what, seconds=240):
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, seconds, poll_frequency=0.5).until(what)


def visible(browser, xpath):
    """The first visible element, once there is one."""

    def find(browser):
        found = [one for one in browser.find_elements("xpath", xpath) if one.is_displayed()]
        return found[0] if found else None

    return wait_for(browser, find)


def lines_drawn(browser):
    """Number of points of every curve that is drawn now, as the page's own library holds it."""
    script = """
        return [...document.querySelectorAll('.js-plotly-plot')]
            .filter(plot => plot.getBoundingClientRect().width > 50)
            .map(plot => plot.data.map(curve => curve.x ? curve.x.length : 0));
    """
    return [[count for count in plot if count > 1] for plot in browser.execute_script(script)]


def test_the_page_shows_the_runs_and_draws_their_curves(server, runs, browser, tmp_path):
    experiment = MlflowClient(tracking_uri=server.uri).get_experiment_by_name(EXPERIMENT)
    place = f"{server.uri}/#/experiments/{experiment.experiment_id}/runs"
    browser.get(place)
    visible(browser, "//*[text()='Model training']").click()
    browser.get(f"{place}?compareRunsMode=CHART")
    for name in runs:
        assert visible(browser, f"//a[contains(., '{name}')]").is_displayed()
    search = visible(browser, "//input[@placeholder='Search metric charts']")
    search.send_keys(CHARTS)
    # A run may have a second curve, for its highlight.
    plots = wait_for(
        browser,
        lambda browser: [p for p in lines_drawn(browser) if p and len(p) % len(runs) == 0],
    )
    assert len(plots) >= 3
    assert all(count == NUM_STEPS for plot in plots for count in plot)
    picture = PICTURE if "WRITE_SCREENSHOTS" in os.environ else tmp_path / "page.png"
    take_picture(browser, picture)
    assert picture.stat().st_size > 20_000


def take_picture(browser, picture):
    """Without the assistant beside the page and the tools over its charts."""
    from selenium.webdriver.common.by import By

    for button in browser.find_elements(By.CSS_SELECTOR, "[aria-label='Close']"):
        if button.is_displayed():
            button.click()
            break
    browser.execute_script(
        "const look = document.createElement('style');"
        "look.textContent = '.modebar { display: none !important; }';"
        "document.head.append(look);"
    )
    wait_for(browser, lambda browser: lines_drawn(browser))
    time.sleep(5)  # charts take the room that became free
    assert browser.save_screenshot(str(picture))
