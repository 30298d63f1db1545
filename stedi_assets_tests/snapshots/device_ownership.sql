WITH "t11" AS (
  SELECT
    "t9"."serialnumber",
    "t9"."email" AS "claimant"
  FROM (
    SELECT
      "t5"."serialnumber",
      MIN("t5"."email") AS "email",
      MAX("t5"."email") AS "other"
    FROM (
      SELECT
        "t2"."serialnumber",
        "t2"."person" AS "email"
      FROM "customer_landing" AS "t2"
      WHERE
        "t2"."serialnumber" IS NOT NULL
    ) AS "t5"
    GROUP BY
      1
  ) AS "t9"
  WHERE
    "t9"."email" = "t9"."other"
)
SELECT
  "t27"."serialnumber",
  CASE
    WHEN (
      "t27"."leader_matched" >= 5
    )
    AND (
      "t27"."leader_matched" > "t27"."second_matched"
    )
    AND (
      (
        "t27"."leader_matched" * 10
      ) >= (
        "t27"."readings" * 9
      )
    )
    THEN "t27"."leader"
    ELSE "t27"."claimant"
  END AS "email",
  CASE
    WHEN (
      "t27"."leader_matched" >= 5
    )
    AND (
      "t27"."leader_matched" > "t27"."second_matched"
    )
    AND (
      (
        "t27"."leader_matched" * 10
      ) >= (
        "t27"."readings" * 9
      )
    )
    THEN 'shared_readings'
    ELSE 'sole_claim'
  END AS "basis",
  "t27"."readings",
  CASE
    WHEN (
      "t27"."leader_matched" >= 5
    )
    AND (
      "t27"."leader_matched" > "t27"."second_matched"
    )
    AND (
      (
        "t27"."leader_matched" * 10
      ) >= (
        "t27"."readings" * 9
      )
    )
    THEN "t27"."leader_matched"
    ELSE "t27"."claimant_matched"
  END AS "matched",
  CASE
    WHEN (
      "t27"."leader_matched" >= 5
    )
    AND (
      "t27"."leader_matched" > "t27"."second_matched"
    )
    AND (
      (
        "t27"."leader_matched" * 10
      ) >= (
        "t27"."readings" * 9
      )
    )
    THEN "t27"."second_matched"
    ELSE CASE
      WHEN COALESCE("t27"."leader" = "t27"."claimant", FALSE)
      THEN "t27"."second_matched"
      ELSE "t27"."leader_matched"
    END
  END AS "runner_up_matched"
FROM (
  SELECT
    "t26"."serialnumber",
    "t26"."readings",
    "t26"."leader",
    COALESCE("t26"."leader_matched", 0) AS "leader_matched",
    COALESCE("t26"."second_matched", 0) AS "second_matched",
    "t26"."claimant",
    COALESCE("t26"."claimant_matched", 0) AS "claimant_matched"
  FROM (
    SELECT
      "t25".*
      EXCLUDE ("serialnumber_right")
    FROM (
      SELECT
        "t19"."serialnumber",
        "t19"."readings",
        "t19"."leader",
        "t19"."leader_matched",
        "t19"."second_matched",
        "t24"."serialnumber" AS "serialnumber_right",
        "t24"."claimant",
        "t24"."claimant_matched"
      FROM (
        SELECT
          "t16".*
          EXCLUDE ("serialnumber_right")
        FROM (
          SELECT
            "t7"."serialnumber",
            "t7"."readings",
            "t12"."serialnumber" AS "serialnumber_right",
            "t12"."leader",
            "t12"."leader_matched",
            "t12"."second_matched"
          FROM (
            SELECT
              "t4"."serialnumber",
              COUNT(*) AS "readings"
            FROM (
              SELECT DISTINCT
                "t0"."serialnumber",
                "t0"."sensorreadingtime" AS "time"
              FROM "step_trainer_landing" AS "t0"
            ) AS "t4"
            GROUP BY
              1
          ) AS "t7"
          LEFT OUTER JOIN (
            SELECT
              "t8"."serialnumber",
              MAX("t8"."user") FILTER(WHERE
                "t8"."place" = 0) AS "leader",
              MAX("t8"."matched") FILTER(WHERE
                "t8"."place" = 0) AS "leader_matched",
              MAX("t8"."matched") FILTER(WHERE
                "t8"."place" = 1) AS "second_matched"
            FROM (
              SELECT
                "t1"."serialnumber",
                "t1"."user",
                "t1"."matched",
                ROW_NUMBER() OVER (
                  PARTITION BY "t1"."serialnumber"
                  ORDER BY "t1"."matched" DESC, "t1"."user" ASC
                  ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                ) - 1 AS "place"
              FROM "device_matches" AS "t1"
            ) AS "t8"
            GROUP BY
              1
          ) AS "t12"
            ON "t7"."serialnumber" = "t12"."serialnumber"
        ) AS "t16"
      ) AS "t19"
      LEFT OUTER JOIN (
        SELECT
          "t22"."serialnumber",
          "t22"."claimant",
          "t22"."claimant_matched"
        FROM (
          SELECT
            "t14"."serialnumber",
            "t14"."claimant",
            "t21"."serialnumber" AS "serialnumber_right",
            "t21"."claimant_matched"
          FROM "t11" AS "t14"
          LEFT OUTER JOIN (
            SELECT
              "t18"."serialnumber",
              "t18"."matched" AS "claimant_matched"
            FROM (
              SELECT
                "t3"."serialnumber",
                "t3"."user",
                "t3"."matched",
                "t15"."claimant"
              FROM "device_matches" AS "t3"
              INNER JOIN "t11" AS "t15"
                ON "t3"."serialnumber" = "t15"."serialnumber"
            ) AS "t18"
            WHERE
              "t18"."user" = "t18"."claimant"
          ) AS "t21"
            ON "t14"."serialnumber" = "t21"."serialnumber"
        ) AS "t22"
      ) AS "t24"
        ON "t19"."serialnumber" = "t24"."serialnumber"
    ) AS "t25"
  ) AS "t26"
) AS "t27"
WHERE
  (
    (
      "t27"."leader_matched" >= 5
    )
    AND (
      "t27"."leader_matched" > "t27"."second_matched"
    )
    AND (
      (
        "t27"."leader_matched" * 10
      ) >= (
        "t27"."readings" * 9
      )
    )
  )
  OR (
    (
      "t27"."claimant" IS NOT NULL
    )
    AND (
      CASE
        WHEN COALESCE("t27"."leader" = "t27"."claimant", FALSE)
        THEN "t27"."second_matched"
        ELSE "t27"."leader_matched"
      END < 5
    )
  )
